"""The notification log over HTTP."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from sqlalchemy import bindparam, select

from notifier_service.domain import (
    Command,
    Notification,
    NotificationStatus,
    NotifierState,
    Resend,
    unknown,
)
from notifier_service.store import NOTIFICATIONS
from shared.chassis.http.auth import operators_only
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.pagination import Page, PageSize, schema_name
from shared.chassis.http.problems import responses
from shared.chassis.http.rate_limits import Limit
from shared.chassis.http.request_body import ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.runtime.service import Service
from shared.chassis.storage.idempotency import Reply
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import to_views, view_as_json
from shared.contracts.notifier import SkipReason

Notifier = NamedDependency[Service[NotifierState, Command]]
FromReader = NamedDependency[Reader]
Cursor = Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)]
OrderId = Annotated[str | None, QueryParameter(name="orderId")]
Status = Annotated[
    NotificationStatus | None, QueryParameter(description="only those with this status")
]


class NotificationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The state of a mail; `recipient` is masked, `resend_of` is the notification that it repeats."""

    notification_id: str
    order_id: str
    event_id: str | None
    template: str
    status: NotificationStatus
    recipient: str | None
    error: str | None
    skip_reason: SkipReason | None
    """`TOO_OLD`: the event arrived later than `QUADRILLE_MAIL_MAX_AGE_HOURS` after it was recorded."""
    resend_of: str | None
    created_at: datetime


NotificationPage = Annotated[Page[NotificationView], schema_name("NotificationPage")]

_NOTIFICATIONS = select(view_as_json(NotificationView, NOTIFICATIONS))
_NOTIFICATION = _NOTIFICATIONS.where(NOTIFICATIONS.c.notification_id == bindparam("id"))


def notification_view(notification: Notification) -> NotificationView:
    """A notification as the API shows it: without its log position."""
    return msgspec.convert(notification, NotificationView, from_attributes=True)


class NotificationController(Controller):
    """The notifications, for operators."""

    path = "/notifications"
    guards = (operators_only,)
    tags = ("notifications",)

    @get("/")
    async def list_notifications(
        self,
        reader: FromReader,
        order_id: OrderId = None,
        status: Status = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> NotificationPage:
        """What was sent, failed or skipped, or is being sent again, for one order or for all, newest first."""
        query = _NOTIFICATIONS.order_by(NOTIFICATIONS.c.position.desc()).limit(limit + 1)
        if order_id is not None:
            query = query.where(NOTIFICATIONS.c.order_id == order_id)
        if status is not None:
            query = query.where(NOTIFICATIONS.c.status == status)
        if cursor is not None:
            query = query.where(NOTIFICATIONS.c.position < cursor)
        rows = await reader.fetch(query.add_columns(NOTIFICATIONS.c.position))
        return Page(
            items=to_views(rows[:limit], NotificationView),
            next_cursor=str(rows[limit - 1].position) if len(rows) > limit else None,
        )

    @get("/{notification_id:str}", responses=responses("unknown-notification"))
    async def show_notification(
        self, notification_id: FromPath[str], reader: FromReader
    ) -> NotificationView:
        """One notification."""
        notification = await reader.find_view(NotificationView, _NOTIFICATION, id=notification_id)
        if notification is None:
            raise unknown(notification_id)
        return notification

    @post(
        "/{notification_id:str}/resend",
        status_code=202,
        responses={
            202: ResponseSpec(NotificationView, description="Will be sent as a mail of its own"),
            **responses("notification-pending", "unknown-notification", "too-many-requests"),
        },
    )
    async def resend_notification(
        self, request: ServiceRequest, notification_id: FromPath[str], service: Notifier
    ) -> Response[bytes]:
        """Send a mail again, to the order's current recipient; responds with the new notification."""
        notification = await service.reader.find_view(
            NotificationView, _NOTIFICATION, id=notification_id
        )
        if notification:
            service.limits.take((Limit.RESENDS_PER_ORDER, notification.order_id))
        resent_id = new_id()
        command = Resend(notification_id=resent_id, resend_of=notification_id)
        return await service.commands.execute(request, command, _resend_reply(resent_id))


def _resend_reply(notification_id: str) -> Callable[[NotifierState], Reply]:
    """Responds with the notification as it is right after the command."""
    return lambda state: json_reply(
        202,
        notification_view(state.notifications[notification_id]),
        location=f"/notifications/{notification_id}",
    )
