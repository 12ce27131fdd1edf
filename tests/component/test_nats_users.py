"""The broker's users: each may do its own work and nothing else; without a user nothing is allowed."""

import asyncio
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from quadrille.cli import provision
from quadrille.endpoints import DECIDING, SERVICES
from quadrille.launcher import nats_config
from quadrille.launcher.nats_config import Server, Tls
from quadrille.launcher.nats_users import PROVISIONER, USERS, VIEWER
from shared.chassis.jetstream import connection
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.messages.catalog import DecodeError
from shared.chassis.messages.cloudevents import decode, encode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import STREAM
from shared.chassis.runtime.service import Service
from shared.chassis.storage.inbox import INBOX
from shared.contracts import CATALOG, OrderCreated
from shared.contracts.order import OrderItem
from tests.support.broker import NatsServer
from tests.support.chassis import ORDER, Publisher, rows_of, serving
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.raw_nats import RefusedError, raw_client
from tests.support.settings import settings_for
from tests.support.tls import make_certificates

EVERYBODY = {user.name for user in USERS}
ACK = "1.1.1.1.1"


def ordered(number: int) -> RecordedEvent:
    return recorded(
        OrderCreated(
            order_id=f"o{number}",
            user_id="user123",
            items=(OrderItem(product_id="p1", quantity=1, price=5000),),
            total_amount=5000,
            currency="JPY",
        )
    )


class Attempt(NamedTuple):
    """An operation that a client attempts, and the users who may do it."""

    subject: str
    users: set[str]


def publications() -> Iterator[Attempt]:
    for name in SERVICES:
        yield from of_service(name)
    yield from of_stream()
    yield from of_viewer()
    for subject in ("shop.nobody.k.event", "elsewhere", "_INBOX.x", "$SYS.REQ.SERVER.PING"):
        yield Attempt(subject, set())


def of_service(name: str) -> Iterator[Attempt]:
    own = f"{STREAM}.{name}"
    yield Attempt(f"shop.{name}.k.event", {name} & {*DECIDING})
    for verb in ("CREATE", "DELETE", "RESET", "MSG.NEXT"):
        yield Attempt(f"$JS.API.CONSUMER.{verb}.{own}", {name})
    yield Attempt(f"$JS.API.CONSUMER.INFO.{own}", {name, VIEWER})
    yield Attempt(f"$JS.API.CONSUMER.CREATE.{own}.shop.>", set())
    for verb in ("DURABLE.CREATE", "PAUSE", "UNPIN", "LEADER.STEPDOWN"):
        yield Attempt(f"$JS.API.CONSUMER.{verb}.{own}", set())
    yield Attempt(f"$JS.ACK.{own}.{ACK}", {name})
    yield Attempt(f"$JS.ACK._.hash.{own}.{ACK}", {name})
    yield Attempt(f"$JS.ACK._.hash.{own}.{ACK}.token", {name})
    yield Attempt(f"_INBOX_{name}.x.1.0", set())
    for other in SERVICES:
        yield Attempt(f"replay.request.{other}.{name}", {name})
        yield Attempt(f"replay.events.{other}.{name}", {name} & {*DECIDING})
    if name in DECIDING:
        for verb in ("CREATE", "DELETE", "MSG.NEXT"):
            yield Attempt(f"$JS.API.CONSUMER.{verb}.{own}-audit", {name})
        yield Attempt(f"$JS.API.CONSUMER.CREATE.{own}-audit.shop.>", set())
    for other in set(SERVICES) - {name}:  # looks like the other's, and is this one's
        yield Attempt(f"$JS.ACK.{own}.{STREAM}.{other}.1.1.1", {name})


def of_stream() -> Iterator[Attempt]:
    yield Attempt(f"$JS.API.STREAM.INFO.{STREAM}", EVERYBODY)
    yield Attempt(f"$JS.API.STREAM.MSG.GET.{STREAM}", {*DECIDING, VIEWER})
    for verb in ("CREATE", "UPDATE"):
        yield Attempt(f"$JS.API.STREAM.{verb}.{STREAM}", {PROVISIONER})
        yield Attempt(f"$JS.API.STREAM.{verb}.OTHER", set())
    for verb in ("DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN"):
        yield Attempt(f"$JS.API.STREAM.{verb}.{STREAM}", set())


def of_viewer() -> Iterator[Attempt]:
    own = f"{STREAM}.viewers"
    for subject in (
        *("STREAM.LIST", "STREAM.NAMES", f"CONSUMER.LIST.{STREAM}", f"CONSUMER.NAMES.{STREAM}"),
        *(f"CONSUMER.{verb}.{own}" for verb in ("INFO", "CREATE", "DELETE", "MSG.NEXT")),
        f"CONSUMER.CREATE.{own}.shop.order.>",
    ):
        yield Attempt(f"$JS.API.{subject}", {VIEWER})
    yield Attempt(f"$JS.ACK.{own}.{ACK}", {VIEWER})
    yield Attempt(f"$JS.ACK.{own}.SHOP.order.1.1.1", {VIEWER})
    for subject in (
        *("INFO", f"DIRECT.GET.{STREAM}", f"DIRECT.GET.{STREAM}.shop.order.k.event"),
        *(f"CONSUMER.{verb}.{own}" for verb in ("PAUSE", "RESET", "DURABLE.CREATE")),
        f"CONSUMER.CREATE.{STREAM}",
    ):
        yield Attempt(f"$JS.API.{subject}", set())


def subscriptions() -> Iterator[Attempt]:
    yield Attempt("shop.>", {VIEWER})
    yield Attempt("_INBOX.>", {VIEWER})
    for subject in (">", "*", "*.>", "_INBOX*.>", "$JS.>", "$JS.ACK.>", "$JS.EVENT.>", "$SYS.>"):
        yield Attempt(subject, set())
    for name in (*SERVICES, PROVISIONER):
        yield Attempt(f"_INBOX_{name}.>", {name})
        yield Attempt(f"_INBOX_{name}.*", {name})
    for name in SERVICES:
        yield Attempt(f"replay.request.{name}.*", {name} & {*DECIDING})
        yield Attempt(f"replay.events.{name}.*", {name})
    yield Attempt("replay.>", set())
    yield Attempt("replay.events.*.order", set())


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats", has_users=True)
    server.start()
    yield server
    server.terminate()


@asynccontextmanager
async def provisioned(server: NatsServer, directory: Path) -> AsyncIterator[None]:
    """The stream exists, and the provisioner runs."""
    settings = settings_for(directory, server.url_of(PROVISIONER))
    await provision.maintain_stream(settings, once=True)
    keeping = asyncio.create_task(provision.maintain_stream(settings))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


@pytest.mark.parametrize("user", sorted(EVERYBODY))
async def test_user_may_do_its_own_work_only(guarded: NatsServer, user: str):
    async with raw_client(guarded.url_of(user)) as client:
        published = {
            attempt.subject
            for attempt in publications()
            if await client.may_publish(attempt.subject)
        }
        subscribed = {
            attempt.subject
            for attempt in subscriptions()
            if await client.may_subscribe(attempt.subject)
        }
    assert published == {attempt.subject for attempt in publications() if user in attempt.users}
    assert subscribed == {attempt.subject for attempt in subscriptions() if user in attempt.users}


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_every_permission_is_among_the_attempts(user):
    published = [attempt.subject for attempt in publications() if user.name in attempt.users]
    subscribed = [attempt.subject for attempt in subscriptions() if user.name in attempt.users]
    for pattern in user.publish:
        assert any(matches(pattern, subject) for subject in published), pattern
    for pattern in user.subscribe:
        assert any(matches(pattern, subject) for subject in subscribed), pattern


def matches(pattern: str, subject: str) -> bool:
    if pattern.endswith(".>"):
        pattern = pattern.removesuffix(".>")
        subject = ".".join(subject.split(".")[: pattern.count(".") + 1])
    tokens = zip(pattern.split("."), subject.split("."), strict=False)
    same_length = pattern.count(".") == subject.count(".")
    return same_length and all(one in {"*", other} for one, other in tokens)


@pytest.mark.parametrize("credentials", ["", "order@", "order:wrong@", "nobody:wrong@", "read:@"])
async def test_connection_without_valid_password_is_refused(guarded: NatsServer, credentials: str):
    with pytest.raises(RefusedError):
        async with raw_client(f"nats://{credentials}127.0.0.1:{guarded.port}"):
            pass


async def test_replies_cannot_forge_events(guarded: NatsServer, tmp_path: Path):
    """The broker sends a reply to any subject the request names: no reply may be an event."""
    subject, body = ordered(2).subject, encode(ordered(2)).decode()
    async with provisioned(guarded, tmp_path):
        reader = JetStreamConnection("order", settings_for(tmp_path, guarded.url_of("order")))
        await reader.connect()
        async with raw_client(guarded.url_of("inventory")) as client:
            assert await client.may_publish(subject.replace("order", "inventory", 1), body)
        for user in USERS:
            async with raw_client(guarded.url_of(user.name)) as client:
                for attempt in publications():
                    for request in ("", '{"seq":1}', '{"batch":1,"no_wait":true}'):
                        await client.may_publish(attempt.subject, request, reply=subject)
        stored = await stored_below(reader, "shop.order.")
        await reader.close()
    assert stored
    for message in stored:
        with pytest.raises(DecodeError):
            decode(*message, CATALOG)


async def stored_below(broker: JetStreamConnection, prefix: str) -> list[tuple[str, bytes]]:
    stream = broker.jetstream()
    last = (await stream.stream_info(STREAM)).state.last_seq
    messages = [await stream.get_msg(STREAM, seq=number + 1) for number in range(last)]
    return [
        (message.subject, message.data or b"")
        for message in messages
        if message.subject and message.subject.startswith(prefix)
    ]


def reasons_of(service: Service) -> str:
    return "; ".join(service.waiting_for())


async def is_ready(service: Service) -> bool:
    assert service.waiting_for() == []
    return True


async def test_service_waits_for_provisioned_stream(guarded: NatsServer, tmp_path: Path):
    settings = settings_for(tmp_path, guarded.url_of("inventory"))
    with capture_logs() as logs:
        async with serving(settings) as service:
            await eventually(
                lambda: reasons_of(service) == f"the stream {STREAM} is not provisioned"
            )
            await asyncio.sleep(1)  # more attempts
            async with provisioned(guarded, tmp_path):
                await eventually(lambda: is_ready(service))
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert sorted(warnings) == ["broker.error", "consumer.paused"]
    assert guarded.log.count("STREAM.CREATE") == 1


async def test_wiped_store_gets_its_stream_back(guarded: NatsServer, tmp_path: Path):
    settings = settings_for(tmp_path, guarded.url_of("inventory"))
    order = Publisher("order", settings_for(tmp_path, guarded.url_of("order")))
    await order.connect()
    async with provisioned(guarded, tmp_path), serving(settings) as service:
        await eventually(lambda: is_ready(service))
        guarded.kill()
        shutil.rmtree(tmp_path / "nats" / "store")
        guarded.restart()
        await eventually(lambda: order.publish([ordered(1)]), 20)
        await eventually(lambda: rows_of(service.reads, INBOX), 20)
    await order.close()


async def test_wrong_password_is_reported(guarded: NatsServer, tmp_path: Path):
    url = f"nats://inventory:wrong@127.0.0.1:{guarded.port}"
    async with serving(settings_for(tmp_path, url)) as service:
        sentence = f"the broker at nats://127.0.0.1:{guarded.port} refuses the user inventory"
        await eventually(lambda: sentence in reasons_of(service))


async def test_missing_permission_is_reported(
    guarded: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "API_TIMEOUT_SECONDS", 0.5)
    async with provisioned(guarded, tmp_path):
        settings = settings_for(tmp_path, guarded.url_of("inventory"))
        async with serving(settings, ORDER) as service:
            await eventually(
                lambda: (
                    "does not permit the user inventory to subscribe to _inbox_order.>"
                    in reasons_of(service)
                )
            )


async def test_refused_consumer_reset_is_tolerated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    users = [
        user._replace(
            publish=tuple(subject for subject in user.publish if ".RESET." not in subject)
        )
        for user in USERS
    ]
    monkeypatch.setattr(nats_config, "USERS", users)
    server = NatsServer(tmp_path / "nats", has_users=True)
    server.start()
    try:
        async with provisioned(server, tmp_path):
            settings = settings_for(tmp_path, server.url_of("inventory"))
            await leave_one_unacknowledged(server, tmp_path)
            with capture_logs() as logs:
                async with serving(settings) as service:
                    await eventually(lambda: is_ready(service))
            assert "consumer.not_reset" in [line["event"] for line in logs]
    finally:
        server.terminate()


async def leave_one_unacknowledged(server: NatsServer, directory: Path) -> None:
    settings = settings_for(directory, server.url_of("inventory"))
    async with serving(settings) as service:
        await eventually(lambda: is_ready(service))
    greedy = JetStreamConnection("inventory", settings)
    await greedy.connect()
    order = Publisher("order", settings_for(directory, server.url_of("order")))
    await order.connect()
    await order.publish([ordered(1)])
    pull = await greedy.jetstream().pull_subscribe_bind(consumer="inventory", stream=STREAM)
    assert len(await pull.fetch(1)) == 1
    for client in (greedy, order):
        await client.close()


@pytest.mark.parametrize("configuration", ["", "feature_flags { js_ack_fc_v2: true }"])
async def test_service_acknowledges_in_both_forms(tmp_path: Path, configuration: str):
    server = NatsServer(tmp_path / "nats", has_users=True, configuration=configuration)
    server.start()
    try:
        async with provisioned(server, tmp_path):
            settings = settings_for(tmp_path, server.url_of("inventory"))
            order = Publisher("order", settings_for(tmp_path, server.url_of("order")))
            await order.connect()
            async with serving(settings) as service:
                await eventually(lambda: is_ready(service))
                await order.publish([ordered(1)])
                await eventually(lambda: has_acknowledged(service))
            await order.close()
    finally:
        server.terminate()


async def has_acknowledged(service: Service) -> bool:
    consumer = await service.broker.jetstream().consumer_info(STREAM, "inventory")
    return bool(consumer.ack_floor and consumer.ack_floor.consumer_seq)


def test_passwords_are_kept_and_secret(tmp_path: Path):
    server = Server("127.0.0.1:4222", "/store", "127.0.0.1:4222")
    first = nats_config.write(tmp_path / "users", server)
    (tmp_path / "users" / "order.url").unlink()
    again = nats_config.write(tmp_path / "users", server._replace(address="elsewhere:5222"))
    assert len(set(first.values())) == len(USERS)
    assert first["order"].removesuffix("127.0.0.1:4222") not in again["order"]
    assert again["read"] == first["read"].replace("127.0.0.1:4222", "elsewhere:5222")
    assert stat.S_IMODE((tmp_path / "users").stat().st_mode) == 0o700
    for file in (tmp_path / "users").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_broker_with_tls_is_trusted_by_authority(tmp_path: Path):
    files = make_certificates(tmp_path)
    tls = Tls(str(files.certificate), str(files.key))
    server = NatsServer(tmp_path / "nats", has_users=True, tls=tls)
    server.start()
    try:
        provisioner = settings_for(tmp_path, server.url_of(PROVISIONER), nats_ca=files.authority)
        await provision.maintain_stream(provisioner, once=True)
        url = server.url_of("inventory")
        assert url.startswith("tls://inventory:")
        async with serving(settings_for(tmp_path, url, nats_ca=files.authority)) as service:
            await eventually(lambda: is_ready(service))
        async with serving(settings_for(tmp_path, url)) as service:
            await eventually(lambda: "certificate verify failed" in reasons_of(service))
    finally:
        server.terminate()


async def test_corrected_certificate_of_broker_is_noticed(tmp_path: Path):
    (tmp_path / "other").mkdir()
    wrong, right = make_certificates(tmp_path / "other"), make_certificates(tmp_path)
    tls = Tls(str(wrong.certificate), str(wrong.key))
    server = NatsServer(tmp_path / "nats", has_users=True, tls=tls)
    server.start()
    try:
        url = server.url_of("inventory")
        async with serving(settings_for(tmp_path, url, nats_ca=right.authority)) as service:
            await eventually(lambda: "certificate verify failed" in reasons_of(service))
            server.terminate()
            shutil.copyfile(right.certificate, wrong.certificate)
            shutil.copyfile(right.key, wrong.key)
            server.restart()
            provisioner = settings_for(
                tmp_path, server.url_of(PROVISIONER), nats_ca=right.authority
            )
            await provision.maintain_stream(provisioner, once=True)
            await eventually(lambda: is_ready(service), within_seconds=20)
    finally:
        server.terminate()


async def test_broker_without_tls_is_refused_by_tls_url(guarded: NatsServer, tmp_path: Path):
    url = guarded.url_of("inventory").replace("nats://", "tls://")
    async with serving(settings_for(tmp_path, url)) as service:
        await eventually(lambda: "it offers no TLS" in reasons_of(service))
