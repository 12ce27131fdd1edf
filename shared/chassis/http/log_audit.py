"""What a service reports about its own database: `quadrille check --online` compares the reports of all services."""

from functools import partial
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from shared.chassis.http.auth import operators_only
from shared.chassis.messages import clock
from shared.chassis.storage.database import Database
from shared.chassis.storage.log_audit import LogAudit, audit_log

Through = Annotated[
    int | None,
    QueryParameter(ge=0, le=10**18 - 1, description="the position up to which ids are compared"),
]


class LogAuditor:
    """Reads the service's database."""

    def __init__(self, reads: Database) -> None:
        self.reads = reads


@get("/audit", guards=[operators_only], tags=["audit"])
async def show_audit(log_auditor: NamedDependency[LogAuditor], through: Through = None) -> LogAudit:
    """Counts of the event log, the inbox and the tasks, and a digest of the log's event ids."""
    return await log_auditor.reads.run(partial(audit_log, through=through, now=clock.now()))
