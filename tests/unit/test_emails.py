import pytest

from order_service.accounts.emails import canonical, mailbox
from order_service.accounts.password_rules import weakness


@pytest.mark.parametrize(
    ("given", "canonical_form"),
    [
        ("Jane@Example.COM", "jane@example.com"),
        ("\uff4aane@example.com", "jane@example.com"),
        ("jane@\uff45xample\u3002com", "jane@example.com"),
        ("jane@日本.jp", "jane@xn--wgv71a.jp"),
        ("jane@XN--WGV71A.jp", "jane@xn--wgv71a.jp"),
        ("\uff2aane@Straße.de", "jane@xn--strae-oqa.de"),
        ("\ufb01ona@example.com", "fiona@example.com"),
        ("jané@example.com", "jané@example.com"),
        ("jane+news@localhost", "jane+news@localhost"),
    ],
)
def test_email_has_one_spelling(given: str, canonical_form: str):
    assert canonical(given) == canonical_form
    assert canonical(canonical_form) == canonical_form


@pytest.mark.parametrize(
    "given",
    [
        "jane",
        "jane@",
        "jane@example.com.",
        "jane@example.com\u3002",
        "jane@exam\u200bple.com",
        "ja\u202ene@example.com",
        "ja\u200dne@example.com",
        "ja\x85ne@example.com",
        "jane\uff20evil@example.com",
        "jane@-example-.com",
        "jane@my_host.example",
        "jane@" + "x" * 64 + ".example",
        "jane@" + "ü." * 100 + "example",
    ],
)
def test_invalid_email_is_refused(given: str):
    with pytest.raises(ValueError, match=r"."):
        canonical(given)


def test_mailbox_ignores_plus_suffix():
    assert mailbox("jane+news@example.com") == "jane@example.com"
    assert mailbox("+@example.com") == "+@example.com"


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "PASSWORD",
        " password ",
        "12345678",
        "        ",
        "aaaaaaaa",
        "abababab",
        "\x00\x01\x02\x03\x04\x05\x06\x07",
        "correct\x1bhorse",
        "jane.doe@example.com",
        "Jane.Doe@Example.com",
        "jane.doe",
    ],
)
def test_weak_password_is_refused(password: str):
    assert weakness(password, "jane.doe@example.com")


@pytest.mark.parametrize(
    "password", ["correct horse", "пароль на всех", "絵文字も可能です", "a😀b😀c😀d😀"]
)
def test_password_of_any_script_is_accepted(password: str):
    assert weakness(password, "jane.doe@example.com") is None
