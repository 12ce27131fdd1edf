"""When the launcher starts a process again, and when it gives it up."""

from signal import SIGKILL

from quadrille.launcher.restarts import Restarts
from shared.chassis.errors import FAILED, REFUSED


def pauses(*ends: float, code: int = -SIGKILL) -> list[float | None]:
    """After each of the ends at these times."""
    restarts = Restarts("order")
    return [restarts.pause_seconds(code, at) for at in ends]


def test_pauses_grow_until_fifth_end():
    assert pauses(0, 5, 10, 15, 20) == [0.5, 1, 2, 4, None]


def test_fifth_end_after_a_minute_is_restarted():
    assert pauses(0, 5, 10, 15, 61) == [0.5, 1, 2, 4, 4]


def test_rare_ends_are_followed_by_short_pauses():
    assert pauses(0, 100, 200, 300, 400, 500) == [0.5] * 6


def test_refusal_is_final_at_once():
    assert pauses(0, code=REFUSED) == [None]
    assert pauses(0, code=FAILED) == [0.5]
