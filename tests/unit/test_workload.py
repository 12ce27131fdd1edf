"""How many changes a process works on at once, by how long their responses take."""

from shared.chassis.http.admission import LATE_SECONDS, MIN_CHANGES, Workload

MAX_CHANGES = 512
LATE = 2 * LATE_SECONDS
IN_TIME = LATE_SECONDS / 2


def room(workload: Workload) -> int:
    """How many changes may begin."""
    number = 0
    while not workload.is_full(number):
        number += 1
    return number


def respond(workload: Workload, seconds: float, *, at: float) -> None:
    """A change whose response at this moment has taken so long."""
    assert workload.begin()
    workload.end(at - seconds, at)


def test_changes_beyond_the_limit_are_refused() -> None:
    workload = Workload(2)
    assert [workload.begin() for _ in range(3)] == [True, True, False]
    workload.end(started_at=0, now=0.1)
    assert [workload.begin() for _ in range(2)] == [True, False]


def test_late_responses_shrink_the_limit() -> None:
    workload = Workload(MAX_CHANGES)
    rooms = []
    for second in range(100, 110):
        respond(workload, LATE, at=second)
        rooms.append(room(workload))
    assert sorted(rooms, reverse=True) == rooms
    assert (rooms[0] < MAX_CHANGES, rooms[-1]) == (True, MIN_CHANGES)


def test_many_late_responses_shrink_it_once() -> None:
    workload, other = Workload(MAX_CHANGES), Workload(MAX_CHANGES)
    respond(other, LATE, at=100)
    for number in range(100):
        respond(workload, LATE, at=100 + number / 1000)
    assert room(workload) == room(other)


def test_limit_grows_when_responses_are_in_time() -> None:
    workload = Workload(MAX_CHANGES)
    for second in range(100, 110):
        respond(workload, LATE, at=second)
    respond(workload, IN_TIME, at=110)
    assert room(workload) == MIN_CHANGES, "others were late a second ago"
    respond(workload, IN_TIME, at=113)
    assert MIN_CHANGES < room(workload) < MAX_CHANGES
    respond(workload, IN_TIME, at=120)
    assert room(workload) == MAX_CHANGES


def test_small_limit_does_not_grow_by_shrinking() -> None:
    workload = Workload(2)
    respond(workload, LATE, at=100)
    assert room(workload) == 2
