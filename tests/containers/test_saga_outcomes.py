"""The three saga outcomes in containers: our image, the real nats and the real mailpit, through HTTP only."""

import pytest

from tests.containers.shop import GRACE_SECONDS, SERVICES, ContainerShop
from tests.support.saga_outcomes import OUTCOMES, SagaOutcome, assert_outcome

pytestmark = pytest.mark.containers


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
async def test_order_reaches_its_outcome(shop: ContainerShop, outcome: SagaOutcome):
    await assert_outcome(shop, outcome)


@pytest.mark.parametrize("name", SERVICES)
def test_service_does_not_run_as_root(shop: ContainerShop, name: str):
    assert shop.container(name).exec_run(["id", "-u"]).output.strip() == b"10001"


# Last, because it stops the shop.
@pytest.mark.parametrize("name", SERVICES)
def test_stopped_service_exits_with_zero(shop: ContainerShop, name: str):
    container = shop.container(name)
    container.stop(timeout=GRACE_SECONDS)
    assert container.wait()["StatusCode"] == 0
