import nats
import pytest

from tests.support import ports
from tests.support.broker import NatsServer


async def test_killed_broker_keeps_store_and_port(broker: NatsServer):
    before = await nats.connect(broker.url)
    await before.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await before.jetstream().publish("kept", b"")
    await before.close()
    broker.kill()
    broker.restart()
    after = await nats.connect(broker.url)
    assert (await after.jetstream().stream_info("KEPT")).state.messages == 1
    await after.close()


def test_ports_are_drawn_again_when_most_are(monkeypatch: pytest.MonkeyPatch):
    """Else a long run in one process would look for another one without end."""
    monkeypatch.setattr(ports, "_own_range", lambda: range(ports.LAST, ports.LAST + 50))
    drawn = [ports.free_port() for _ in range(200)]
    assert 20 < len(set(drawn)) <= 50
