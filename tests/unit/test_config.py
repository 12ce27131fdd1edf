from pathlib import Path

import pytest

from shared.chassis import settings as chassis
from shared.chassis.settings import ChassisSettings, SettingsError
from shared.settings import ShopSettings, load
from tests.support.settings import environment_of, settings_for


def test_defaults_apply_without_variables():
    assert load({}) == ShopSettings()


def test_foreign_variables_are_ignored():
    assert load({"PATH": "/bin", "NATS_URL": "nats://elsewhere"}) == ShopSettings()


def test_values_are_parsed_by_type():
    settings = load(
        {
            "QUADRILLE_NATS_URL": "nats://broker:4222",
            "QUADRILLE_DATA_DIR": "/var/lib/shop",
            "QUADRILLE_ORDER_PORT": "9000",
            "QUADRILLE_CARRIER_SUCCESS_RATE": "0.5",
            "QUADRILLE_LOG_FORMAT": "json",
        }
    )
    assert settings.nats_url == "nats://broker:4222"
    assert settings.data_dir == Path("/var/lib/shop")
    assert settings.order_port == 9000
    assert settings.carrier_success_rate == 0.5
    assert settings.log_format == "json"


def test_settings_round_trip_through_the_environment(tmp_path: Path):
    settings = settings_for(tmp_path, "nats://127.0.0.1:1", carrier_success_rate=0.25)
    assert load(environment_of(settings)) == settings


def test_unknown_setting_suggests_the_nearest():
    with pytest.raises(
        SettingsError,
        match=r"^QUADRILLE_NATS_ULR is not a setting; did you mean QUADRILLE_NATS_URL\?$",
    ):
        load({"QUADRILLE_NATS_ULR": "nats://broker"})


def test_unknown_setting_without_neighbour_is_refused():
    with pytest.raises(SettingsError, match=r"^QUADRILLE_XYZZY is not a setting$"):
        load({"QUADRILLE_XYZZY": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORDER_PORT", "http"),
        ("ORDER_PORT", "0"),
        ("ORDER_PORT", "65536"),
        ("CARRIER", "pigeon"),
        ("CARRIER_SUCCESS_RATE", "1.1"),
        ("CARRIER_SUCCESS_RATE", "nan"),
        ("CARRIER_MIN_DELAY_SECONDS", "-1"),
        ("CARRIER_MAX_DELAY_SECONDS", "inf"),
        ("ORDER_TIMEOUT_SECONDS", "0"),
        ("ORDER_TIMEOUT_SECONDS", "nan"),
        ("ORDER_TIMEOUT_SECONDS", "inf"),
        ("ORDER_TIMEOUT_PENDING_SECONDS", "0"),
        ("ORDER_TIMEOUT_CANCELLING_SECONDS", "soon"),
        ("CARRIER_MAX_ATTEMPTS", "0"),
        ("CURRENCY", "yen"),
        ("CURRENCY", "JPY\n"),
        ("DEFAULT_LOCALE", "fr"),
        ("LOG_LEVEL", "loud"),
        ("TRUSTED_PROXIES", "*"),
        ("TRUSTED_PROXIES", "10.0.0.1,proxy.example"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("MAX_CONNECTIONS", "0"),
        ("REQUEST_HEAD_TIMEOUT_SECONDS", "0"),
        ("NATS_URL", ""),
        ("NATS_URL", "nats://:::"),
        ("NATS_URL", "nats://127.0.0.1:many"),
        ("NATS_URL", "nats://127.0.0.1:65536"),
        ("NATS_URL", "http://127.0.0.1:4222"),
        ("NATS_URL", "not an address"),
        ("NATS_CA", "/nowhere"),
        ("NATS_CA", __file__),
        ("PUBLIC_URL", "shop.example"),
        ("ADMIN_EMAIL", "admin"),
    ],
)
def test_invalid_value_names_its_setting(name: str, value: str):
    with pytest.raises(SettingsError, match=f"^QUADRILLE_{name}: ") as refused:
        load({f"QUADRILLE_{name}": value})
    assert "regex" not in str(refused.value)


def test_password_in_wrong_address_is_not_repeated():
    with pytest.raises(SettingsError) as refused:
        load({"QUADRILLE_NATS_URL": "nats://order:secret@:4222"})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1", "broker:4222", "nats://order:p%40ss@[::1]:4222", "tls://nats.example"]
)
def test_addresses_of_brokers_are_accepted(url: str):
    assert load({"QUADRILLE_NATS_URL": url}).nats_url == url


def test_minimum_delay_above_maximum_is_refused():
    with pytest.raises(SettingsError, match="CARRIER_MIN_DELAY_SECONDS is greater than"):
        load({"QUADRILLE_CARRIER_MIN_DELAY_SECONDS": "9"})


@pytest.mark.parametrize("age", ["1", "119", "119.9"])
def test_stream_age_below_duplicate_window_is_refused(age: str):
    with pytest.raises(SettingsError, match="STREAM_MAX_AGE_SECONDS must be 0"):
        load({"QUADRILLE_STREAM_MAX_AGE_SECONDS": age})


def test_stream_age_of_duplicate_window_is_accepted():
    assert load({"QUADRILLE_STREAM_MAX_AGE_SECONDS": "120"}).stream_max_age_seconds == 120


def test_stream_bytes_without_age_are_refused():
    with pytest.raises(SettingsError, match="STREAM_MAX_BYTES without QUADRILLE_STREAM_MAX_AGE"):
        load({"QUADRILLE_STREAM_MAX_BYTES": "1000", "QUADRILLE_STREAM_MAX_AGE_SECONDS": "0"})


@pytest.mark.parametrize(("days", "age"), [("7", "604800"), ("8", "0"), ("1", "604800")])
def test_inbox_shorter_than_stream_is_refused(days: str, age: str):
    with pytest.raises(SettingsError, match="INBOX_RETENTION_DAYS must be longer"):
        load(
            {
                "QUADRILLE_INBOX_RETENTION_DAYS": days,
                "QUADRILLE_STREAM_MAX_AGE_SECONDS": age,
            }
        )


def test_inbox_longer_than_stream_is_accepted():
    assert load({"QUADRILLE_INBOX_RETENTION_DAYS": "8"}).inbox_retention_days == 8


def test_secret_is_read_from_file(tmp_path: Path):
    file = tmp_path / "order.url"
    file.write_text("nats://order:secret@nats:4222\n")
    settings = load({"QUADRILLE_NATS_URL_FILE": str(file)})
    assert settings.nats_url == "nats://order:secret@nats:4222"


def test_secret_given_twice_is_refused(tmp_path: Path):
    file = tmp_path / "password"
    file.write_text("open sesame")
    with pytest.raises(SettingsError, match="ADMIN_PASSWORD_FILE are both set"):
        load({"QUADRILLE_ADMIN_PASSWORD": "x", "QUADRILLE_ADMIN_PASSWORD_FILE": str(file)})


def test_missing_secret_file_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"^QUADRILLE_SMTP_URL_FILE: .*/nothing cannot be read"):
        load({"QUADRILLE_SMTP_URL_FILE": str(tmp_path / "nothing")})


def test_file_variable_of_non_secret_is_refused():
    with pytest.raises(SettingsError, match="QUADRILLE_LOG_LEVEL_FILE is not a setting"):
        load({"QUADRILLE_LOG_LEVEL_FILE": "/dev/null"})


def test_missing_certificate_authority_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match="QUADRILLE_NATS_CA: there is no file"):
        load({"QUADRILLE_NATS_CA": str(tmp_path / "ca.pem")})


def test_service_without_shop_settings_refuses_them():
    assert chassis.load(ChassisSettings, {}) == ChassisSettings()
    with pytest.raises(SettingsError, match="QUADRILLE_CURRENCY is not a setting"):
        chassis.load(ChassisSettings, {"QUADRILLE_CURRENCY": "EUR"})
