"""What `/health/ready` reports of the events that a service has not handled."""

from shared.chassis.http.health import Backlog
from shared.chassis.storage import dead_letters
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS
from shared.chassis.storage.reader import Reader


async def backlog_of(reader: Reader, lag: int | None, *, is_open: bool) -> Backlog:
    if not is_open:
        return Backlog(lag, None)
    try:
        ((number,),) = await reader.fetch(dead_letters.number_unhandled())
    except TRANSIENT_DATABASE_ERRORS:
        return Backlog(lag, None)
    return Backlog(lag, number)
