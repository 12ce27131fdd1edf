"""The secrets of compose.yaml's containers, other than the broker's users: one file each."""

import secrets
from pathlib import Path

from shared.chassis.secret_file import write_secret
from shared.settings import ShopSettings

MAILPIT = "smtp://mailpit:1025"


def write(directory: Path, settings: ShopSettings, mode: int) -> dict[str, str]:
    """Write a file for each setting and return the values.

    A value is that of the setting, else that of the existing file, else a new one.
    """
    smtp_url = settings.smtp_url if settings.smtp_url != ShopSettings().smtp_url else None
    values = {
        "admin_password": _value(directory, "admin_password", settings.admin_password),
        "carrier_secret": _value(directory, "carrier_secret", settings.carrier_secret),
        "smtp_url": _value(directory, "smtp_url", smtp_url, MAILPIT),
    }
    for name, value in values.items():
        write_secret(directory / name, value, mode)
    return values


def _value(directory: Path, name: str, setting: str | None, default: str | None = None) -> str:
    file = directory / name
    existing = file.read_text().strip() if file.exists() else None
    return setting or existing or default or secrets.token_urlsafe(18)
