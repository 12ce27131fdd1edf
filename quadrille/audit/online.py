"""The audit of a shop that runs elsewhere, through the services' own reports: no database file is read.

It compares less than the audit of the files: whether logs are complete, whether the read API has applied the same
events, and whether anything has waited too long. Contents of tables and events stay where they are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from quadrille.audit.checks import ARCHIVE, LOG, STUCK
from quadrille.audit.deadlines import Deadlines
from quadrille.audit.pending import AuditWarning, Pending
from quadrille.audit.read_model import READ
from quadrille.audit.report import Report
from quadrille.audit.violation import Violation
from quadrille.endpoints import DECIDING, SERVICES, Json
from read_api.queries.audit import AppliedLog, ReadAudit
from shared.chassis.storage.log_audit import LogAudit, Waiting

Audit = Callable[[str, int | None], Json]
"""A service's answer at `/audit`; the log's digest is of its events up to the position."""
Ready = Callable[[str], Json]
"""A service's answer at `/health/ready`, ready or not."""
READY = "ready"


class Readiness(msgspec.Struct, rename="camel"):
    """The answer at `/health/ready`."""

    waiting_for: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class OnlineShop(msgspec.Struct, frozen=True, kw_only=True):
    """The reports of all services."""

    logs: Mapping[str, LogAudit]
    """Each with the digest of what the read API has applied of it."""
    read: ReadAudit
    readiness: Mapping[str, Readiness]
    now: datetime
    deadlines: Deadlines


def read_online(audit: Audit, ready: Ready, now: datetime, deadlines: Deadlines) -> OnlineShop:
    """Raises what the callables raise."""
    read = msgspec.convert(audit(READ, None), ReadAudit)
    applied = {log.source: log.applied for log in read.logs}
    return OnlineShop(
        logs={
            service: msgspec.convert(audit(service, applied.get(service, 0)), LogAudit)
            for service in DECIDING
        },
        read=read,
        readiness={service: msgspec.convert(ready(service), Readiness) for service in SERVICES},
        now=now,
        deadlines=deadlines,
    )


def report_online(shop: OnlineShop) -> Report:
    violations = [
        *_incomplete(shop),
        *_different(shop),
        *_stuck(shop),
        *_unready(shop),
    ]
    return Report(
        ok=not violations,
        violations=violations,
        warnings=list(_warnings(shop)),
        pending=list(_pending(shop)),
        events={service: log.last_position for service, log in shop.logs.items()},
    )


CHECKS: Sequence[tuple[str, str]] = (
    ("positions", "every log runs from 1 without a gap"),
    ("archive", "the read API has applied the events of the logs"),
    ("progress", "nothing waits for longer than its deadline"),
    (READY, "every service is ready"),
)


def _incomplete(shop: OnlineShop) -> Iterator[Violation]:
    for service, log in shop.logs.items():
        if log.missing:
            expected, actual = f"{log.last_position} events", f"{log.missing} are missing"
            remedy = LOG.format(service=service)
            yield Violation("positions", service, "event_log", expected, actual, remedy)


def _different(shop: OnlineShop) -> Iterator[Violation]:
    for applied in shop.read.logs:
        log = shop.logs.get(applied.source)
        if log is None:
            continue
        entity = f"log of {applied.source}"
        if applied.applied > log.last_position:
            at_most = f"at most {log.last_position}"
            remedy = LOG.format(service=applied.source)
            yield Violation("archive", READ, entity, at_most, str(applied.applied), remedy)
        elif applied.digest != log.digest:
            expected = f"the same events up to position {applied.applied}"
            yield Violation("archive", READ, entity, expected, "other events", ARCHIVE)


def _stuck(shop: OnlineShop) -> Iterator[Violation]:
    limits = shop.deadlines
    for service, log in shop.logs.items():
        yield from _late(
            shop, service, "events to publish", log.unpublished, limits.publish_seconds
        )
        yield from _late(shop, service, "tasks", log.overdue_tasks, limits.task_seconds)
    for applied in shop.read.logs:
        yield from _late(
            shop, READ, f"events of {applied.source}", _behind(shop, applied), limits.handle_seconds
        )


def _late(
    shop: OnlineShop, service: str, what: str, waiting: Waiting | None, seconds: float
) -> Iterator[Violation]:
    if waiting is None:
        return
    age = (shop.now - waiting.since).total_seconds()
    if age > seconds:
        expected, actual = f"done within {seconds:.0f} s", f"the oldest waits for {age:.0f} s"
        entity = f"{waiting.count} {what}"
        yield Violation(
            "progress", service, entity, expected, actual, STUCK.format(service=service)
        )


def _behind(shop: OnlineShop, applied: AppliedLog) -> Waiting | None:
    """What the read API has not applied of a log."""
    log = shop.logs.get(applied.source)
    if log is None or log.next_recorded_at is None:
        return None
    return Waiting(count=log.last_position - applied.applied, since=log.next_recorded_at)


def _unready(shop: OnlineShop) -> Iterator[Violation]:
    for service, readiness in shop.readiness.items():
        for reason in readiness.waiting_for:
            yield Violation(READY, service, "service", "ready", f"waits for {reason}")


def _warnings(shop: OnlineShop) -> Iterator[AuditWarning]:
    for service, readiness in shop.readiness.items():
        for warning in readiness.warnings:
            yield AuditWarning(service, READY, warning)
    for service, log in shop.logs.items():
        if log.refused:
            what = f"the broker refuses {log.refused} of its events permanently"
            yield AuditWarning(service, "event_log", what)
    if shop.read.held:
        yield AuditWarning(READ, "held_events", f"{shop.read.held} events are held: quadrille held")


def _pending(shop: OnlineShop) -> Iterator[Pending]:
    for service, log in shop.logs.items():
        for what, waiting in (("events to publish", log.unpublished), ("tasks", log.overdue_tasks)):
            if waiting:
                yield Pending(service, what, waiting.count, waiting.since)
    for applied in shop.read.logs:
        if behind := _behind(shop, applied):
            yield Pending(READ, f"events of {applied.source}", behind.count, behind.since)
