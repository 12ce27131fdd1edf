"""What the read API has applied, for operators."""

from litestar import get
from litestar.di import NamedDependency

from read_api.api.params import RESTRICTED
from read_api.queries import audit
from read_api.queries.audit import ReadAudit
from shared.chassis.http.auth import operators_only
from shared.chassis.storage.database import Database


@get("/audit", guards=[operators_only], responses=RESTRICTED, tags=["audit"])
async def show_audit(reads: NamedDependency[Database]) -> ReadAudit:
    """Of each log the last applied position, and a digest of the ids of its events."""
    return await reads.run(audit.audit)
