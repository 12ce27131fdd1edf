"""Which faults happen, one after the other in each lane: drawn from a seed, so that the seed repeats them."""

import os
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.chaos import broker_faults, message_faults, service_faults  # noqa: F401 - they fill the table
from tests.chaos.fault import FAULTS, Fault

SHORTEST_SECONDS, LONGEST_SECONDS = 0.2, 4.0
PAUSES = (0.2, 2.5)


class Strike(NamedTuple):
    """A fault at work."""

    fault: Fault
    seed: int
    """Of what the fault draws."""
    seconds: float
    """Until it is healed."""
    pause: float
    """After it."""

    def __str__(self) -> str:
        return f"{self.fault.name} for {self.seconds:.1f} s"


class Plan:
    """The endless strikes of every lane."""

    def __init__(self, seed: int, faults: Sequence[Fault]) -> None:
        self.seed = seed
        self.faults = faults

    def lanes(self) -> list[Iterator[Strike]]:
        return [self._strikes(lane) for lane in sorted({fault.lane for fault in self.faults})]

    def _strikes(self, lane: str) -> Iterator[Strike]:
        draw = random.Random(f"{self.seed}:{lane}")
        faults = [fault for fault in self.faults if fault.lane == lane]
        while True:
            for fault in draw.sample(faults, len(faults)):
                seconds = draw.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
                yield Strike(fault, draw.getrandbits(32), seconds, draw.uniform(*PAUSES))


def faults_named(names: Iterable[str]) -> list[Fault]:
    """These faults; without names all that this user may inject. Raises ValueError for an unknown name."""
    is_root = os.geteuid() == 0
    possible = [fault.name for fault in FAULTS.values() if is_root or not fault.needs_small_disk]
    chosen = list(names) or possible
    unknown = [name for name in chosen if name not in FAULTS]
    if unknown:
        raise ValueError(f"unknown faults: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    return [FAULTS[name] for name in chosen]
