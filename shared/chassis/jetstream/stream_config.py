"""The configuration that the stream SHOP must have, and how an existing one differs from it."""

from nats.js import api

from shared.chassis.messages.clock import new_id
from shared.chassis.messages.subjects import EVERYTHING, STREAM
from shared.chassis.settings import DUPLICATE_WINDOW_SECONDS, ChassisSettings

LIMITS = ("max_age", "max_bytes")
UNCHANGEABLE = ("storage",)
COMPARED = (
    "subjects",
    "storage",
    "retention",
    "discard",
    "max_msgs",
    "max_msgs_per_subject",
    "max_msg_size",
    "duplicate_window",
    "allow_direct",
    "deny_delete",
    "deny_purge",
    *LIMITS,
)

EPOCH = "epoch"
"""The name of its metadata."""
PROVISIONER = {"provisioner": "quadrille"}
"""Metadata of a stream whose limits only its provisioner sets: services with other settings do not change them."""


def target(settings: ChassisSettings, *, provisions: bool = False) -> api.StreamConfig:
    """The configuration that the settings require."""
    return api.StreamConfig(
        name=STREAM,
        subjects=[EVERYTHING],
        storage=api.StorageType.FILE,
        retention=api.RetentionPolicy.LIMITS,
        discard=api.DiscardPolicy.NEW,
        max_age=settings.stream_max_age_seconds,
        max_bytes=settings.stream_max_bytes,
        max_msgs=-1,
        max_msgs_per_subject=-1,
        max_msg_size=-1,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
        allow_direct=True,
        deny_delete=True,
        deny_purge=True,
        metadata=PROVISIONER if provisions else None,
    )


def with_epoch(target: api.StreamConfig) -> api.StreamConfig:
    """The configuration of a stream that is created now: services recognize by its epoch that it replaces another."""
    return target.evolve(metadata={**(target.metadata or {}), EPOCH: new_id()})


def epoch_of(stream: api.StreamInfo) -> str:
    """The stream's epoch; of one that was created without, the moment of its creation."""
    return (stream.config.metadata or {}).get(EPOCH) or str(stream.created)


def is_provisioned(current: api.StreamConfig) -> bool:
    """Whether a provisioner created the stream or took it over."""
    return (current.metadata or {}).get("provisioner") == PROVISIONER["provisioner"]


def differing(
    current: api.StreamConfig, target: api.StreamConfig, *, with_limits: bool
) -> list[str]:
    fields = COMPARED if with_limits else [name for name in COMPARED if name not in LIMITS]
    return [name for name in fields if getattr(current, name) != getattr(target, name)]


def changeable(fields: list[str]) -> list[str]:
    """The fields that the broker can change in an existing stream."""
    return [name for name in fields if name not in UNCHANGEABLE]


def describe(current: api.StreamConfig, target: api.StreamConfig, fields: list[str]) -> list[str]:
    """Sentences such as `the stream SHOP has subjects elsewhere.>, not shop.>`."""
    return [
        f"the stream {STREAM} has {name} {_value(current, name)}, not {_value(target, name)}"
        for name in fields
    ]


def corrected(
    current: api.StreamConfig, target: api.StreamConfig, fields: list[str]
) -> api.StreamConfig:
    """The current configuration with these fields, and the metadata, taken from the target."""
    metadata = (current.metadata or {}) | (target.metadata or {})
    changes = {name: getattr(target, name) for name in fields}
    return current.evolve(**changes, metadata=metadata)


def _value(config: api.StreamConfig, field: str) -> str:
    value = getattr(config, field)
    return (
        ", ".join(value) if isinstance(value, list) else str(getattr(value, "value", value)).lower()
    )
