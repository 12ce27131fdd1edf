"""compose.yaml as Docker Compose runs it: our image, nats and mailpit, through HTTP and `docker compose` only."""

import json

import pytest

from tests.containers.shop import ContainerShop
from tests.support.eventually import eventually
from tests.support.saga_outcomes import OUTCOMES, SagaOutcome, assert_outcome
from tests.support.shop_expectations import SERVICES

pytestmark = pytest.mark.containers
SECRETS = "QUADRILLE_ADMIN_PASSWORD=", "QUADRILLE_CARRIER_SECRET=", "QUADRILLE_NATS_URL="


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
async def test_order_reaches_its_outcome(shop: ContainerShop, outcome: SagaOutcome):
    await assert_outcome(shop, outcome)


async def test_sample_catalogue_is_on_sale(shop: ContainerShop):
    await eventually(lambda: shop.is_for_sale("headset", price=12_000), 60)


@pytest.mark.parametrize("name", SERVICES)
def test_service_does_not_run_as_root(shop: ContainerShop, name: str):
    assert shop.compose("exec", name, "id", "-u").strip() == "10001"


@pytest.mark.parametrize("name", SERVICES)
def test_environment_of_service_has_no_secret(shop: ContainerShop, name: str):
    assert not any(secret in shop.compose("exec", name, "env") for secret in SECRETS)


@pytest.mark.parametrize("name", [*SERVICES, "nats", "mailpit"])
async def test_container_becomes_healthy(shop: ContainerShop, name: str):
    await eventually(lambda: shop.containers()[name]["Health"] == "healthy", 60)


async def test_services_stay_healthy_without_broker(shop: ContainerShop):
    shop.compose("stop", "nats")
    try:
        await eventually(lambda: not shop.is_ready("order"), 60)
        shop.compose("exec", "order", "python", "-S", "-E", "/app/healthcheck.py")
    finally:
        shop.compose("start", "nats")
    await eventually(lambda: shop.is_ready("order"), 60)


def test_check_finds_no_problem(shop: ContainerShop):
    report = json.loads(shop.compose("run", "--rm", "check", "--json"))
    assert report["ok"], report
    assert report["events"]["order"] > 0


def test_backup_of_running_stack_is_complete(shop: ContainerShop):
    shop.compose("run", "--rm", "backup", "monday")
    verified = json.loads(shop.compose("run", "--rm", "backup", "monday", "--verify", "--json"))
    assert {copy["service"] for copy in verified["databases"]} == {*SERVICES}


# Last, because it stops the shop.
def test_stopped_services_exit_with_zero(shop: ContainerShop):
    shop.compose("stop")
    stopped = shop.containers()
    assert {name: stopped[name]["ExitCode"] for name in SERVICES} == dict.fromkeys(SERVICES, 0)
