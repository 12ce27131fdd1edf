"""The notification log over HTTP."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
from litestar import Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from notifier_service import store
from notifier_service.domain import Notification, NotifierState, Resend, Status, unknown
from shared.chassis.http.auth import admin_only
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.problems import responses
from shared.chassis.http.rate_limits import Limit
from shared.chassis.http.request_body import ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.runtime.service import Service
from shared.chassis.storage.idempotency import Reply

PageSize = Annotated[int, QueryParameter(ge=1, le=200)]
Cursor = Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)]
OrderId = Annotated[str | None, QueryParameter(name="orderId")]


class NotificationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a mail; `recipient` is masked, `resend_of` the notification that it repeats."""

    notification_id: str
    order_id: str
    event_id: str | None
    template: str
    status: Status
    recipient: str | None
    error: str | None
    resend_of: str | None
    created_at: datetime


class NotificationPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Newest first; `next_cursor` asks for the rest."""

    items: Sequence[NotificationView]
    next_cursor: str | None


def view(notification: Notification) -> NotificationView:
    """What is shown of a notification: all but its place in the log."""
    return msgspec.convert(notification, NotificationView, from_attributes=True)


def router(service: Service) -> Router:
    """The routes of this API."""

    @get("/", responses=responses(400, 401, 403))
    async def list_notifications(
        order_id: OrderId = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> NotificationPage:
        """What was sent, failed or skipped, for one order or for all, newest first."""
        found = await service.reads.run(
            partial(store.latest_notifications, order_id=order_id, before=cursor, most=limit + 1)
        )
        page = found[:limit]
        more = str(page[-1].position) if len(found) > limit else None
        return NotificationPage(items=[view(entry) for entry in page], next_cursor=more)

    @get("/{notification_id:str}", responses=responses(401, 403, 404))
    async def show_notification(notification_id: FromPath[str]) -> NotificationView:
        """One notification."""
        notification = await service.reads.run(
            partial(store.NOTIFICATION_TABLE.find, entity_id=notification_id)
        )
        if notification is None:
            raise unknown(notification_id)
        return view(notification)

    @post(
        "/{notification_id:str}/resend",
        status_code=202,
        responses={
            202: ResponseSpec(NotificationView, description="Will be sent as a mail of its own"),
            **responses(400, 401, 403, 404, 409, 413, 422, 429, 503),
        },
    )
    async def resend_notification(
        request: ServiceRequest, notification_id: FromPath[str]
    ) -> Response[bytes]:
        """Send a mail again, to where the order's mails go by now; answers the new notification."""
        notification = await service.reads.run(
            partial(store.NOTIFICATION_TABLE.find, entity_id=notification_id)
        )
        if notification:
            service.limits.take((Limit.RESENDS_PER_ORDER, notification.order_id))
        new = new_id()
        command = Resend(notification_id=new, resend_of=notification_id)
        return await service.commands.execute(request, command, _shown(new))

    return Router(
        "/notifications",
        route_handlers=[list_notifications, show_notification, resend_notification],
        guards=[admin_only],
        tags=["notifications"],
    )


def _shown(notification_id: str) -> Callable[[NotifierState], Reply]:
    return lambda room: json_reply(
        202, view(room.notifications[notification_id]), location=f"/notifications/{notification_id}"
    )
