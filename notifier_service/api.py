"""The notification log over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.params import FromPath, QueryParameter

from notifier_service import store
from notifier_service.domain import Notification, Status
from shared.problem import responses
from shared.refused import Refused
from shared.service import Service

PageSize = Annotated[int, QueryParameter(ge=1, le=200)]
Cursor = Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)]
OrderId = Annotated[str | None, QueryParameter(name="orderId")]


class NotificationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a mail; `recipient` is masked."""

    notification_id: str
    order_id: str
    event_id: str | None
    template: str
    status: Status
    recipient: str | None
    error: str | None
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

    @get("/", responses=responses(400))
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

    @get("/{notification_id:str}", responses=responses(404))
    async def show_notification(notification_id: FromPath[str]) -> NotificationView:
        """One notification."""
        found = await service.reads.run(
            partial(store.load_notifications, notification_ids=[notification_id])
        )
        if notification_id not in found:
            raise Refused(
                "unknown-notification", f"there is no notification {notification_id}", status=404
            )
        return view(found[notification_id])

    return Router(
        "/notifications",
        route_handlers=[list_notifications, show_notification],
        tags=["notifications"],
    )
