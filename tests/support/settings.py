"""Settings of a shop in a temporary directory, on free ports."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from shared.chassis.settings import ChassisSettings
from shared.settings import ShopSettings
from tests.support.ports import free_port

PORTS = (
    "order_port",
    "inventory_port",
    "shipping_port",
    "notifier_port",
    "read_api_port",
    "nats_port",
    "mailbox_port",
    "mailbox_smtp_port",
)


def settings_for(data_dir: Path, nats_url: str, **changes: Any) -> ShopSettings:
    """Carriers without delay, deadlines without grace, mails for events of any age, no rate limits, and free ports."""
    settings = ShopSettings(
        data_dir=data_dir,
        nats_url=nats_url,
        carrier_min_delay_seconds=0,
        carrier_max_delay_seconds=0,
        rate_limits="off",
        order_timeout_grace_seconds=0,
        mail_max_age_hours=0,
        **{name: free_port() for name in PORTS},
    )
    return replace(settings, **changes)


def environment_of(settings: ChassisSettings) -> dict[str, str]:
    """The same as `QUADRILLE_*` variables, for a process of its own."""
    return {
        f"QUADRILLE_{name.upper()}": str(value)
        for name in settings.__struct_fields__
        if (value := getattr(settings, name)) is not None
    }
