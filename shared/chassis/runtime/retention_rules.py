"""When rows of the chassis's tables are deleted."""

from collections.abc import Iterator
from datetime import timedelta

from shared.chassis.engine.retention import RetentionRule
from shared.chassis.http import token_versions
from shared.chassis.http.token_versions import TOKEN_VERSION
from shared.chassis.storage.idempotency import IDEMPOTENCY_KEY, RETENTION_HOURS
from shared.chassis.storage.inbox import INBOX
from shared.chassis.storage.redrives import REDRIVE, REDRIVE_ITEM, RETENTION_DAYS

COMMON_RULES = (
    *(
        RetentionRule(table.c.requested_at, timedelta(days=RETENTION_DAYS))
        for table in (REDRIVE_ITEM, REDRIVE)
    ),
    RetentionRule(TOKEN_VERSION.c.received_at, token_versions.RETENTION),
)
"""For the tables of every service."""


def chassis_retention_rules(inbox_retention_days: int) -> Iterator[RetentionRule]:
    """For the tables of every service that decides."""
    yield from COMMON_RULES
    yield RetentionRule(IDEMPOTENCY_KEY.c.stored_at, timedelta(hours=RETENTION_HOURS))
    if inbox_retention_days:
        yield RetentionRule(INBOX.c.processed_at, timedelta(days=inbox_retention_days))
