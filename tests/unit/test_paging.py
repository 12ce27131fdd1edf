"""Cursors: what we give we take back, and nothing else."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chassis.http.pagination import EARLIEST, LATEST, bounded, from_cursor, to_cursor
from shared.chassis.http.problems import BadRequest


@given(st.text())
def test_cursor_round_trips(key: str) -> None:
    assert from_cursor(to_cursor(key), tuple[str]) == (key,)


@given(st.text())
def test_invalid_cursor_is_a_bad_request(text: str) -> None:
    try:
        key = from_cursor(text, tuple[datetime, str])
    except BadRequest:
        return
    assert key
    assert EARLIEST <= bounded(key[0]) <= LATEST


def test_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(BadRequest, match="cursor"):
        from_cursor(to_cursor("prod001"), tuple[datetime, str])


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_any_client_time_is_bounded_to_comparable(moment: datetime) -> None:
    assert EARLIEST <= bounded(moment).astimezone(UTC) <= LATEST
