"""What a round amounts to, as a table."""

from collections import Counter
from collections.abc import Iterator

from tests.chaos.round import Report

SHOWN_VIOLATIONS = 20


def lines(report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield f"SEED={report.seed}"
    for name, value in (
        ("orders", f"{sum(verdict.outcomes.values()):,}"),
        ("outcomes", _counts(verdict.outcomes)),
        ("deadline of an order", f"{report.deadline_seconds:.0f} s"),
        ("faults", f"{sum(report.faults.values()):,}"),
        ("faults by class", _counts(report.faults)),
        ("answers to customers", _counts(report.answers)),
        ("load", f"{report.load_seconds:.1f} s"),
        ("time to quiesce", f"{report.quiesce_seconds:.1f} s"),
        ("events", f"{verdict.events:,}"),
        ("duplicates absorbed", f"{verdict.duplicates:,}"),
        (
            "mails",
            f"{verdict.mails:,}, of which {verdict.doubled_mails:,} were received more than once",
        ),
        ("dead letters", f"{verdict.dead_letters:,}, all of them poison"),
        ("restarts by the supervisor", _counts(Counter(end.service for end in report.endings))),
        ("violations", f"{len(verdict.violations):,}"),
    ):
        yield f"{name:<28}{value}"
    yield from verdict.violations[:SHOWN_VIOLATIONS]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common()) or "none"
