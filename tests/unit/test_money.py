import pytest

from shared.money import money


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (5000, "JPY", "¥5,000"),
        (0, "JPY", "¥0"),
        (5000, "USD", "$50.00"),
        (123_456_789, "EUR", "€1,234,567.89"),
        (5, "USD", "$0.05"),
        (-1999, "USD", "-$19.99"),
        (12_345, "KWD", "KWD 12.345"),
        (990, "CHF", "CHF 9.90"),
    ],
)
def test_amount_is_formatted_in_currency_units(amount, currency, written):
    assert money(amount, currency) == written
