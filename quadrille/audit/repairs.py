"""The commands that repair what an audit has found, as far as a service owns it; no row is changed otherwise.

Events that are lost on the way are published again, overdue tasks and dead letters are tried again. Each service
ignores what it has handled, so a repair that was not necessary does no harm.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from quadrille.audit import progress
from quadrille.audit.read_model import READ
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.snapshot import DeadLetterRow
from quadrille.audit.violation import Violation
from shared.chassis.storage.dead_letters import Status

REBUILT = {"rows", "read_model"}
"""Checks that a rebuild from the events of the same database may satisfy."""
UNTRUSTED = {"positions", "versions", "ownership", "archive"}
"""Checks without which those events cannot be trusted."""


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a service."""

    service: str
    path: tuple[str, ...]
    """The segments of the URL's path."""
    body: dict[str, int] | None = None
    what: str


def find_repairs(shop: ShopSnapshot, violations: Iterable[Violation]) -> list[Repair]:
    """What can be done without an operator's decision."""
    return [*_resends(shop), *_tasks(shop), *_redrives(shop), *_rebuilds(violations)]


def _rebuilds(violations: Iterable[Violation]) -> Iterator[Repair]:
    """Of tables that are not the fold of the events, where the events themselves are as they should be."""
    by_service: dict[str, set[str]] = defaultdict(set)
    for violation in violations:
        by_service[violation.service].add(violation.check)
    for service, checks in sorted(by_service.items()):
        if checks & REBUILT and not checks & UNTRUSTED:
            yield Repair(service=service, path=("rebuild",), what="rebuilds its tables")


def _resends(shop: ShopSnapshot) -> Iterator[Repair]:
    for source, positions in sorted(_missing_positions(shop).items()):
        for first, last in _ranges(sorted(positions)):
            what = (
                f"publishes event {first} again"
                if first == last
                else (f"publishes events {first} to {last} again")
            )
            body = {"from": first, "to": last}
            yield Repair(service=source, path=("events", "resend"), body=body, what=what)


def _missing_positions(shop: ShopSnapshot) -> dict[str, set[int]]:
    """By source: what is not published, or was published and has not arrived."""
    positions: dict[str, set[int]] = defaultdict(set)
    for service in shop.services:
        positions[service.name].update(
            row.recorded.position for row in service.log if row.refusal is not None
        )
        for event in progress.stuck_unpublished(shop, service):
            positions[event.source].add(event.position)
        for event in progress.stuck_unhandled(shop, service):
            positions[event.source].add(event.position)
    if shop.read:
        for event in progress.stuck_unapplied(shop, shop.read):
            positions[event.source].add(event.position)
    return positions


def _ranges(positions: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Of consecutive positions: the first and the last of each."""
    ranges: list[list[int]] = []
    for position in positions:
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    return ((first, last) for first, last in ranges)


def _tasks(shop: ShopSnapshot) -> Iterator[Repair]:
    for service in shop.services:
        for task in progress.stuck_tasks(shop, service):
            yield Repair(
                service=service.name,
                path=("tasks", task.kind, task.task_key, "run"),
                what=f"executes the {task.kind} task {task.task_key}",
            )


def _redrives(shop: ShopSnapshot) -> Iterator[Repair]:
    for service in shop.services:
        yield from _redrives_of(service.name, service.dead_letters)
    if shop.read:
        yield from _redrives_of(READ, shop.read.dead_letters)


def _redrives_of(service: str, letters: Iterable[DeadLetterRow]) -> Iterator[Repair]:
    parked = {letter.entity_id for letter in letters if letter.status == Status.PARKED}
    for entity_id in sorted(filter(None, parked)):
        yield Repair(
            service=service,
            path=("dead-letters", entity_id, "redrive"),
            what=f"tries the dead letters of {entity_id} again",
        )
