"""The broker's users and their permissions: one per service, one that provisions the stream, one that only reads.

The server's configuration and the tests are generated from this table.
"""

from typing import NamedTuple

from quadrille.endpoints import DECIDING, SERVICES
from shared.chassis.jetstream.connection import inbox_prefix
from shared.chassis.jetstream.stream_reader import audit_consumer
from shared.chassis.messages.subjects import (
    STREAM,
    everything_of,
    replay_events,
    replay_request,
)

PROVISIONER = "provisioner"
VIEWER = "viewer"

API = "$JS.API"


class NatsUser(NamedTuple):
    """Subjects that a user may publish and subscribe to; the broker denies all others."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    never_publish: tuple[str, ...] = ()
    """Exceptions from `publish`."""


def _service(name: str) -> NatsUser:
    """May publish the service's own events, and read its own durable consumer, which has its name.

    With a second consumer it checks that the stream still contains its events. For replays it may ask every owner of
    an event log, as itself, and answer requests for its own.

    Acknowledgement subjects have two forms, with and without domain and account. Both patterns have the full number
    of tokens: a shorter pattern for one form would match another consumer's acknowledgements in the other.
    """
    own = f"{STREAM}.{name}"
    audit = f"{STREAM}.{audit_consumer(name)}"
    publishing = (
        everything_of(name),
        f"{API}.STREAM.MSG.GET.{STREAM}",
        f"{API}.CONSUMER.CREATE.{audit}",
        f"{API}.CONSUMER.DELETE.{audit}",
        f"{API}.CONSUMER.MSG.NEXT.{audit}",
        replay_events("*", name),
    )
    owned = (replay_request(name, "*"),) if name in DECIDING else ()
    return NatsUser(
        name,
        publish=(
            *(publishing if name in DECIDING else ()),
            f"{API}.STREAM.INFO.{STREAM}",
            f"{API}.CONSUMER.INFO.{own}",
            f"{API}.CONSUMER.CREATE.{own}",
            f"{API}.CONSUMER.DELETE.{own}",
            f"{API}.CONSUMER.RESET.{own}",
            f"{API}.CONSUMER.MSG.NEXT.{own}",
            f"$JS.ACK.{own}.*.*.*.*.*",
            f"$JS.ACK.*.*.{own}.*.*.*.*.>",
            replay_request("*", name),
        ),
        subscribe=(f"{inbox_prefix(name)}.>", replay_events(name, "*"), *owned),
    )


def _provisioner() -> NatsUser:
    return NatsUser(
        PROVISIONER,
        publish=tuple(f"{API}.STREAM.{verb}.{STREAM}" for verb in ("INFO", "CREATE", "UPDATE")),
        subscribe=(f"{inbox_prefix(PROVISIONER)}.>",),
    )


def _viewer() -> NatsUser:
    """May do what the `nats` command line needs for reading, on consumers that it creates.

    Not DIRECT.GET: the broker sends the reply to any subject that the request names, and that reply is an unchanged
    event body, so it could be stored again under any subject.
    """
    return NatsUser(
        VIEWER,
        publish=(
            f"{API}.STREAM.LIST",
            f"{API}.STREAM.NAMES",
            f"{API}.STREAM.INFO.{STREAM}",
            f"{API}.STREAM.MSG.GET.{STREAM}",
            f"{API}.CONSUMER.LIST.{STREAM}",
            f"{API}.CONSUMER.NAMES.{STREAM}",
            f"{API}.CONSUMER.INFO.{STREAM}.*",
            f"{API}.CONSUMER.CREATE.{STREAM}.*",
            f"{API}.CONSUMER.CREATE.{STREAM}.*.>",
            f"{API}.CONSUMER.DELETE.{STREAM}.*",
            f"{API}.CONSUMER.MSG.NEXT.{STREAM}.*",
            f"$JS.ACK.{STREAM}.*.*.*.*.*.*",
        ),
        subscribe=("shop.>", "_INBOX.>"),
        never_publish=tuple(
            subject
            for name in (*SERVICES, *map(audit_consumer, DECIDING))
            for subject in (
                f"{API}.CONSUMER.CREATE.{STREAM}.{name}",
                f"{API}.CONSUMER.CREATE.{STREAM}.{name}.>",
                f"{API}.CONSUMER.DELETE.{STREAM}.{name}",
                f"{API}.CONSUMER.MSG.NEXT.{STREAM}.{name}",
                f"$JS.ACK.{STREAM}.{name}.>",
            )
        ),
    )


USERS = (*map(_service, SERVICES), _provisioner(), _viewer())
