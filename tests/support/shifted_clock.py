"""Runs a module with a clock that is wrong: `python -m tests.support.shifted_clock <seconds> <module>`."""

import runpy
import sys
from collections.abc import Callable
from datetime import datetime, timedelta

from shared.chassis.messages import clock

_true_now = clock.now


def shifted(seconds: float) -> Callable[[], datetime]:
    """A clock that differs from the true time by this."""
    return lambda: _true_now() + timedelta(seconds=seconds)


if __name__ == "__main__":
    _, seconds, module = sys.argv
    sys.argv = [module]
    clock.now = shifted(float(seconds))
    runpy.run_module(module, run_name="__main__", alter_sys=True)
