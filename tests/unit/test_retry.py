from datetime import timedelta

import pytest

from shared.chassis.engine.task_runner import Retry
from shared.chassis.storage.task_queue import Task
from shared.chassis.testing import START


def failed(attempts: int) -> Task:
    return Task(
        task_id="t1",
        kind="booking",
        task_key="o1",
        payload={},
        due_at=START,
        attempts=attempts,
        first_due_at=START,
        causation_id=None,
        correlation_id="o1",
        traceparent=None,
    )


@pytest.mark.parametrize("failures", range(12))
def test_retry_pause_doubles_with_jitter_up_to_maximum(failures: int):
    retry = Retry(attempts=20, first_seconds=0.5, longest_seconds=60)
    nominal = min(0.5 * 2**failures, 60)
    for _ in range(50):
        assert nominal / 2 <= retry.pause_seconds(failures) <= nominal


def test_retry_pause_stays_finite_after_many_failures():
    assert Retry(first_seconds=1, longest_seconds=300).pause_seconds(100_000) <= 300


def test_task_is_given_up_after_max_attempts():
    retry = Retry(attempts=3)
    assert [retry.is_used_up(failed(number), START) for number in range(4)] == [
        False,
        False,
        True,
        True,
    ]


def test_task_is_given_up_after_max_age():
    retry = Retry(within_seconds=60)
    assert not retry.is_used_up(failed(99), START + timedelta(seconds=59))
    assert retry.is_used_up(failed(0), START + timedelta(seconds=60))


def test_task_without_limits_is_retried_indefinitely():
    assert not Retry().is_used_up(failed(1000), START + timedelta(days=365))
