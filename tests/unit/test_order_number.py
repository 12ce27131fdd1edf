import re

import pytest

from shared.order_number import order_number, parse_order_number

ORDER_ID = "0199a1b2-7c3d-7aaa-8bbb-0123456789ab"


def test_order_number_stays_the_same_across_releases():
    assert order_number(ORDER_ID) == "1EF3-PQ2V"


def test_order_numbers_are_readable_and_differ():
    numbers = {order_number(f"order-{number}") for number in range(1000)}
    assert len(numbers) == 1000
    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", one) for one in numbers)


@pytest.mark.parametrize("typed", ["7K3F-92QM", "7k3f-92qm", "7K3F92QM", " 7k3f 92qm "])
def test_typed_number_is_found_in_any_form(typed):
    assert parse_order_number(typed) == "7K3F-92QM"


def test_letters_like_digits_are_read_as_digits():
    assert parse_order_number("oOiI-lL00") == "0011-1100"


@pytest.mark.parametrize("text", ["", "7K3F-92Q", "7K3F-92QMX", "UUUU-UUUU", ORDER_ID, "7K3F/92QM"])
def test_other_text_is_no_number(text):
    assert parse_order_number(text) is None
