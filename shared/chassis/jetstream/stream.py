"""The stream SHOP: the configuration it must have, and in what an existing one differs from it."""

from nats.js import api

from shared.chassis.messages.subjects import EVERYTHING, STREAM
from shared.settings import DUPLICATE_WINDOW_SECONDS, Settings

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

PROVISIONER = {"provisioner": "quadrille"}
"""Metadata of a stream whose limits are the provisioner's: services with other settings leave them alone."""


def wanted(settings: Settings, *, provisions: bool = False) -> api.StreamConfig:
    """The configuration by these settings."""
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


def is_provisioned(present: api.StreamConfig) -> bool:
    """Whether a provisioner made the stream or has taken it over."""
    return (present.metadata or {}).get("provisioner") == PROVISIONER["provisioner"]


def differing(
    present: api.StreamConfig, target: api.StreamConfig, *, with_limits: bool
) -> list[str]:
    """The fields in which the stream is not as it must be."""
    fields = COMPARED if with_limits else [name for name in COMPARED if name not in LIMITS]
    return [name for name in fields if getattr(present, name) != getattr(target, name)]


def changeable(fields: list[str]) -> list[str]:
    """Those that the broker can change in a stream that exists."""
    return [name for name in fields if name not in UNCHANGEABLE]


def described(present: api.StreamConfig, target: api.StreamConfig, fields: list[str]) -> list[str]:
    """What differs, for people: `the stream SHOP has subjects elsewhere.>, not shop.>`."""
    return [
        f"the stream {STREAM} has {name} {_shown(present, name)}, not {_shown(target, name)}"
        for name in fields
    ]


def corrected(
    present: api.StreamConfig, target: api.StreamConfig, fields: list[str]
) -> api.StreamConfig:
    """The present configuration with these fields, and the mark of the provisioner, as they must be."""
    metadata = (present.metadata or {}) | (target.metadata or {})
    changes = {name: getattr(target, name) for name in fields}
    return present.evolve(**changes, metadata=metadata)


def _shown(config: api.StreamConfig, field: str) -> str:
    value = getattr(config, field)
    return (
        ", ".join(value) if isinstance(value, list) else str(getattr(value, "value", value)).lower()
    )
