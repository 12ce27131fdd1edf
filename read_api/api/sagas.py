"""The board of unfinished sagas over HTTP, for operators."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from read_api.api.dependencies import ReadApi
from read_api.api.params import RESTRICTED, Cursor, PageSize
from read_api.queries.sagas import SagaFilter, SagaState
from read_api.schemas import SagaPage
from shared.chassis.http.auth import operators_only

State = Annotated[
    SagaState | None, QueryParameter(name="state", description="only those in this state")
]
OrderId = Annotated[str | None, QueryParameter(name="orderId", description="only this order")]


@get("/sagas", guards=[operators_only], responses=RESTRICTED, tags=["orders"])
async def list_sagas(
    read_api: NamedDependency[ReadApi],
    saga_state: State = None,
    order_id: OrderId = None,
    cursor: Cursor = None,
    limit: PageSize = 50,
) -> SagaPage:
    """Every order that has not ended, or whose stock is not settled: past steps, who must act next, what usually follows.

    Oldest first. Stuck is a saga of which nothing has happened for three times what its step takes nine of ten recent
    orders, but at least for half a minute. Retrying is one whose carrier has not answered three attempts. Parked is one with a dead letter.
    """
    return await read_api.board.sagas(SagaFilter(saga_state, order_id), cursor, limit)
