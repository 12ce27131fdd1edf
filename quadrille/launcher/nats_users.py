"""Who may do what at the broker: a user for each service, one that provisions the stream, one that looks.

The server's configuration and the tests are made of this table.
"""

from typing import NamedTuple

from shared.chassis.jetstream.connection import inbox_prefix
from shared.chassis.messages.subjects import STREAM, everything_of
from shared.contracts import PUBLISHERS

SOURCES = tuple(sorted(set(PUBLISHERS.values())))
SERVICES = (*SOURCES, "read")
PROVISIONER = "provisioner"
VIEWER = "viewer"

API = "$JS.API"


class NatsUser(NamedTuple):
    """Subjects that a user may publish and subscribe to; what is neither named nor matched is refused."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    never_publish: tuple[str, ...] = ()
    """Exceptions from `publish`."""


def _service(name: str) -> NatsUser:
    """Its own events, and its own durable consumer: the one that has its name.

    Acknowledgements have two forms, with and without domain and account. Both are written out to their
    length: a shorter pattern for one of them would match the acknowledgements of another consumer in the other.
    """
    own = f"{STREAM}.{name}"
    publishing = (everything_of(name), f"{API}.STREAM.MSG.GET.{STREAM}")
    return NatsUser(
        name,
        publish=(
            *(publishing if name in SOURCES else ()),
            f"{API}.STREAM.INFO.{STREAM}",
            f"{API}.CONSUMER.INFO.{own}",
            f"{API}.CONSUMER.CREATE.{own}",
            f"{API}.CONSUMER.DELETE.{own}",
            f"{API}.CONSUMER.RESET.{own}",
            f"{API}.CONSUMER.MSG.NEXT.{own}",
            f"$JS.ACK.{own}.*.*.*.*.*",
            f"$JS.ACK.*.*.{own}.*.*.*.*.>",
        ),
        subscribe=(f"{inbox_prefix(name)}.>",),
    )


def _provisioner() -> NatsUser:
    return NatsUser(
        PROVISIONER,
        publish=tuple(f"{API}.STREAM.{verb}.{STREAM}" for verb in ("INFO", "CREATE", "UPDATE")),
        subscribe=(f"{inbox_prefix(PROVISIONER)}.>",),
    )


def _viewer() -> NatsUser:
    """What the `nats` command line asks for when it looks, on consumers that it makes for itself.

    It gets no DIRECT.GET. The broker sends an answer wherever the request says, and the answer to that one is
    a stored body as it is: it could be stored again, under any subject.
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
            for name in SERVICES
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
