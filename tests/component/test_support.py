import nats

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
