"""Requests of operators to handle dead letters after all, and what became of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy import ColumnElement, func

from shared.chassis.engine.redriver import Redriver
from shared.chassis.http.auth import operators_only
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.problems import BadRequest, FieldError, responses
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.dead_letters import DEAD_LETTER, IS_OPEN, KEY, Status
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.redrives import ItemOutcome, Redrive, RedriveItem

WAIT_SECONDS = 3
"""For a redrive to be finished before its state is answered."""
ANY_ENTITY = "…"
"""Stands for the entity's id in the error of a group."""

GROUP_ERROR = func.replace(DEAD_LETTER.c.error, KEY, ANY_ENTITY)
"""The error of a letter without the id of its entity: that of its group."""


class RedriveItemView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    event_id: str
    type: str | None
    entity: str
    outcome: ItemOutcome
    error: str | None


class RedriveView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A request to handle dead letters, and how far it is: it is carried out even if the service is restarted."""

    redrive_id: str
    requested_by: str
    requested_at: datetime
    finished: bool
    outcomes: Mapping[str, int]
    """How many letters have each outcome."""
    items: Sequence[RedriveItemView]


Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class RedriveFilter(RequestBody, frozen=True, kw_only=True):
    """The entities of all letters that fulfil every condition; at least one is needed."""

    type: Text | None = None
    error: Text | None = None
    """A part of the error, or the error of a group."""
    source: Text | None = None
    status: Status | None = None


class DeadLetters(NamedTuple):
    """What the handlers need of a service."""

    reader: Reader
    redriver: Redriver


FromDeadLetters = NamedDependency[DeadLetters]


class RedriveController(Controller):
    """Requests to handle dead letters after all."""

    path = "/redrives"
    guards = (operators_only,)
    tags = ("dead letters",)

    @post(
        "/",
        status_code=202,
        opt=WITHOUT_KEY,
    )
    async def redrive_many(
        self,
        request: ServiceRequest,
        data: JSONBody[RedriveFilter],
        dead_letters: FromDeadLetters,
    ) -> RedriveView:
        """Handle the letters of all entities that the filter selects, as after the correction of a fault."""
        if data == RedriveFilter():
            raise BadRequest(FieldError(field="body", message="needs at least one condition"))
        return await request_redrive(request, dead_letters, condition_of(data))

    @get("/{redrive_id:str}", responses=responses("unknown-redrive"))
    async def show_redrive(
        self, redrive_id: FromPath[str], dead_letters: FromDeadLetters
    ) -> RedriveView:
        """The outcome of each letter; kept for 30 days."""
        return _view_of(await dead_letters.redriver.find(redrive_id), redrive_id)


def condition_of(chosen: RedriveFilter) -> ColumnElement[bool]:
    condition = IS_OPEN if chosen.status is None else DEAD_LETTER.c.status == chosen.status
    if chosen.type is not None:
        condition &= DEAD_LETTER.c.event_type == chosen.type
    if chosen.source is not None:
        condition &= DEAD_LETTER.c.source == chosen.source
    if chosen.error is not None:
        is_part = DEAD_LETTER.c.error.contains(chosen.error, autoescape=True)
        condition &= is_part | (chosen.error == GROUP_ERROR)
    return condition


async def request_redrive(
    request: ServiceRequest, dead_letters: DeadLetters, condition: ColumnElement[bool]
) -> RedriveView:
    """Of all letters of the entities that have one that fulfils the condition."""
    redriver = dead_letters.redriver
    redrive_id = await redriver.request(condition, by=request.customer_id)
    return _view_of(await redriver.wait(redrive_id, WAIT_SECONDS), redrive_id)


def _view_of(redrive: Redrive | None, redrive_id: str) -> RedriveView:
    if redrive is None:
        raise Rejected("unknown-redrive", f"there is no redrive {redrive_id}")
    return redrive_view(redrive)


def redrive_view(redrive: Redrive) -> RedriveView:
    return RedriveView(
        redrive_id=redrive.redrive_id,
        requested_by=redrive.requested_by,
        requested_at=redrive.requested_at,
        finished=redrive.is_finished,
        outcomes=Counter(str(item.outcome) for item in redrive.items),
        items=[_item(item) for item in redrive.items],
    )


def _item(item: RedriveItem) -> RedriveItemView:
    return RedriveItemView(
        event_id=item.event_id,
        type=item.event_type,
        entity=item.key,
        outcome=item.outcome,
        error=item.error,
    )
