"""The dead letters of a service, for operators: which there are and why, try, redrive, discard."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Controller, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from sqlalchemy import Row, func, select

from shared.chassis.engine.redrive import EntityChange, Trial
from shared.chassis.http.auth import operators_only
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.pagination import Cursor, Keyset, PageSize, page_of, to_cursor
from shared.chassis.http.problems import responses
from shared.chassis.http.redrives import (
    GROUP_ERROR,
    WAIT_SECONDS,
    DeadLetters,
    FromDeadLetters,
    RedriveFilter,
    RedriveView,
    condition_of,
    redrive_view,
    request_redrive,
)
from shared.chassis.http.request_body import Reason, RequestBody, ServiceRequest
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.dead_letters import (
    DEAD_LETTER,
    KEY,
    LETTERS,
    Status,
    StoredLetter,
    of_entity,
    to_letter,
)
from shared.chassis.storage.redrives import ItemOutcome

MAX_GROUPS = 100


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message that was not handled; only a discarded one has the last three."""

    event_id: str
    type: str | None
    entity: str
    """The entity's id; the letter's own if it could not be read."""
    source: str | None
    position: int | None
    status: Status
    subject: str
    error: str
    dead_lettered_at: datetime
    discarded_at: datetime | None
    discarded_by: str | None
    reason: str | None


class DeadLetterWithBody(DeadLetterView, frozen=True, kw_only=True, rename="camel"):
    """With the message as it was received; bytes that are no text are escaped."""

    body: str


class DeadLetterGroup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Letters with the same type, status and error, apart from the ids of their entities in it."""

    error: str
    type: str | None
    status: Status
    letters: int
    entities: int
    oldest: datetime
    newest: datetime


class DeadLetterList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The first page has the groups of all letters that fulfil the filter, the largest first."""

    groups: Sequence[DeadLetterGroup]
    items: Sequence[DeadLetterView]
    next_cursor: str | None


class DeadLettersOfEntity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """In the order of their arrival."""

    items: Sequence[DeadLetterWithBody]


class TrialEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type: str
    entity: str
    data: Any


class TrialItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A letter, what would become of it, and the events that would be recorded."""

    event_id: str
    type: str | None
    outcome: ItemOutcome
    error: str | None
    events: Sequence[TrialEvent]


class StateChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The fields of an entity that would differ; `before` is null for a new one, `after` for a deleted one."""

    kind: str
    id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class TrialView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a redrive would do; nothing was written."""

    items: Sequence[TrialItem]
    changes: Sequence[StateChange]


class Discarding(RequestBody, frozen=True, kw_only=True):
    """Which letter is never handled, and why: the reason is kept and published."""

    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    reason: Reason


class Discarded(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`redrive` is that of the letters that waited behind the discarded one."""

    event_id: str
    redrive: RedriveView | None


StatusFilter = Annotated[
    Status | None, QueryParameter(name="status", description="without it, all but DISCARDED")
]
Type = Annotated[str | None, QueryParameter(name="type", description="e.g. StockReserved")]
Error = Annotated[
    str | None, QueryParameter(description="a part of the error, or the error of a group")
]
Source = Annotated[str | None, QueryParameter(description="its publisher, e.g. inventory")]
Entity = FromPath[str]

_BY_ARRIVAL = Keyset(tuple[int], DEAD_LETTER.c.dead_letter_id.asc())
_GROUPS = (
    select(
        GROUP_ERROR.label("error"),
        DEAD_LETTER.c.event_type,
        DEAD_LETTER.c.status,
        func.count().label("letters"),
        func.count(KEY.distinct()).label("entities"),
        func.min(DEAD_LETTER.c.dead_lettered_at).label("oldest"),
        func.max(DEAD_LETTER.c.dead_lettered_at).label("newest"),
    )
    .group_by(GROUP_ERROR, DEAD_LETTER.c.event_type, DEAD_LETTER.c.status)
    .order_by(func.count().desc(), GROUP_ERROR)
    .limit(MAX_GROUPS)
)


class DeadLetterController(Controller):
    """Events that were not handled, and the later ones of their entities."""

    path = "/dead-letters"
    guards = (operators_only,)
    tags = ("dead letters",)

    @get("/")
    async def list_dead_letters(  # noqa: PLR0917 - Litestar passes them by name
        self,
        dead_letters: FromDeadLetters,
        letter_status: StatusFilter = None,
        event_type: Type = None,
        error: Error = None,
        source: Source = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> DeadLetterList:
        """Letters, oldest first, and their groups by error and type."""
        chosen = RedriveFilter(type=event_type, error=error, source=source, status=letter_status)
        condition = condition_of(chosen)
        query = _BY_ARRIVAL.select(LETTERS.where(condition), cursor, limit)
        letters = [to_letter(row) for row in await dead_letters.reader.fetch(query)]
        page = page_of(letters, limit, _view, lambda letter: to_cursor(letter.dead_letter_id))
        groups = [] if cursor else await dead_letters.reader.fetch(_GROUPS.where(condition))
        return DeadLetterList(
            groups=[_group(row) for row in groups],
            items=page.items,
            next_cursor=page.next_cursor,
        )

    @get("/{entity:str}", responses=responses("unknown-dead-letter"))
    async def show_dead_letters(
        self, entity: Entity, dead_letters: FromDeadLetters
    ) -> DeadLettersOfEntity:
        """The letters of an entity with their bodies, discarded ones too."""
        condition = (DEAD_LETTER.c.entity_id == entity) | (entity == KEY)
        query = LETTERS.where(condition).order_by(DEAD_LETTER.c.dead_letter_id)
        rows = await dead_letters.reader.fetch(query)
        if not rows:
            raise _unknown(entity)
        return DeadLettersOfEntity(items=[_with_body(to_letter(row)) for row in rows])

    @post(
        "/{entity:str}/redrive",
        status_code=202,
        opt=WITHOUT_KEY,
        responses=responses("unknown-dead-letter"),
    )
    async def redrive_entity(
        self, request: ServiceRequest, entity: Entity, dead_letters: FromDeadLetters
    ) -> RedriveView:
        """Handle the letters of an entity in their order, up to the first that fails again."""
        await _raise_if_unknown(dead_letters, entity)
        return await request_redrive(request, dead_letters, of_entity(entity))

    @post(
        "/{entity:str}/try",
        status_code=200,
        opt=WITHOUT_KEY,
        responses=responses("unknown-dead-letter"),
    )
    async def try_entity(self, entity: Entity, dead_letters: FromDeadLetters) -> TrialView:
        """What a redrive would do with the first 200 letters: the change of the state, and the events. Nothing is written."""
        await _raise_if_unknown(dead_letters, entity)
        trials = await dead_letters.redriver.attempt(entity)
        return TrialView(
            items=[item for trial in trials for item in _trial_items(trial)],
            changes=[_change(change) for trial in trials for change in trial.changes],
        )

    @post(
        "/{entity:str}/discard",
        status_code=200,
        opt=WITHOUT_KEY,
        responses=responses("unknown-dead-letter"),
    )
    async def discard_letter(
        self,
        request: ServiceRequest,
        entity: Entity,
        data: JSONBody[Discarding],
        dead_letters: FromDeadLetters,
    ) -> Discarded:
        """Never handle this letter; those that waited behind it are handled."""
        redriver = dead_letters.redriver
        redrive_id = await redriver.discard(
            entity, data.event_id, by=request.customer_id, reason=data.reason
        )
        rest = await redriver.wait(redrive_id, WAIT_SECONDS) if redrive_id else None
        return Discarded(event_id=data.event_id, redrive=rest and redrive_view(rest))


async def _raise_if_unknown(dead_letters: DeadLetters, entity: str) -> None:
    some = select(DEAD_LETTER.c.dead_letter_id).where(of_entity(entity)).limit(1)
    if not await dead_letters.reader.fetch(some):
        raise _unknown(entity)


def _unknown(entity: str) -> Rejected:
    return Rejected("unknown-dead-letter", f"there is no dead letter of {entity}")


def _view(letter: StoredLetter) -> DeadLetterView:
    return DeadLetterView(**_fields(letter))


def _with_body(letter: StoredLetter) -> DeadLetterWithBody:
    body = letter.body.decode(errors="backslashreplace")
    return DeadLetterWithBody(**_fields(letter), body=body)


def _fields(letter: StoredLetter) -> dict[str, Any]:
    names = set(DeadLetterView.__struct_fields__) - {"type", "entity"}
    fields = {name: getattr(letter, name) for name in names}
    return {**fields, "type": letter.event_type, "entity": letter.key}


def _group(row: Row[Any]) -> DeadLetterGroup:
    return DeadLetterGroup(
        error=row.error,
        type=row.event_type,
        status=Status(row.status),
        letters=row.letters,
        entities=row.entities,
        oldest=row.oldest,
        newest=row.newest,
    )


def _trial_items(trial: Trial) -> list[TrialItem]:
    return [
        TrialItem(
            event_id=attempt.letter.event_id,
            type=attempt.letter.event_type,
            outcome=attempt.outcome,
            error=attempt.error,
            events=[_event(event) for event in trial.events.get(attempt.letter.event_id, ())],
        )
        for attempt in trial.attempts
    ]


def _event(recorded: RecordedEvent) -> TrialEvent:
    data = msgspec.to_builtins(recorded.event)
    return TrialEvent(type=recorded.event_type, entity=recorded.entity_id, data=data)


def _change(change: EntityChange) -> StateChange:
    return StateChange(
        kind=change.kind, id=change.entity_id, before=change.before, after=change.after
    )
