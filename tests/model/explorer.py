"""Breadth-first search through all states of a model, with the shortest path to each."""

from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)


class Step(NamedTuple, Generic[State]):
    """A possible next state."""

    label: str
    state: State
    will_happen: bool
    """Whether the system makes the step if it is left alone; no fault, and nothing that a customer asks for."""


class Graph(Generic[State]):
    """The states that can be reached from the initial ones, numbered in the order of their discovery."""

    def __init__(
        self, initial: Iterable[State], steps_from: Callable[[State], Iterable[Step[State]]]
    ) -> None:
        self.states: list[State] = []
        self.step_count = 0
        self._numbers: dict[State, int] = {}
        self._parents: list[tuple[int, str]] = []
        self._sources = array("I")
        """With `_targets`: the steps that will happen."""
        self._targets = array("I")
        for state in initial:
            self._number(state, -1, "")
        for number, state in _growing(self.states):
            for step in steps_from(state):
                self._add(number, step)

    def path_to(self, number: int) -> list[str]:
        """The labels of a shortest path to this state."""
        labels: deque[str] = deque()
        while number >= 0:
            number, label = self._parents[number]
            labels.appendleft(label)
        return list(labels)[1:]

    def without_way_to(self, goals: Iterable[int]) -> Iterator[int]:
        """The states from which the system, left alone, reaches no goal."""
        sources_of: list[list[int]] = [[] for _ in self.states]
        for source, target in zip(self._sources, self._targets, strict=True):
            sources_of[target].append(source)
        reaching = bytearray(len(self.states))
        waiting = list(goals)
        while waiting:
            number = waiting.pop()
            if not reaching[number]:
                reaching[number] = True
                waiting += sources_of[number]
        return (number for number, reaches in enumerate(reaching) if not reaches)

    def _add(self, number: int, step: Step[State]) -> None:
        self.step_count += 1
        target = self._number(step.state, number, step.label)
        if step.will_happen:
            self._sources.append(number)
            self._targets.append(target)

    def _number(self, state: State, parent: int, label: str) -> int:
        number = self._numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
            self._parents.append((parent, label))
        return number


def _growing(states: list[State]) -> Iterator[tuple[int, State]]:
    """Numbers and states, with those that are appended meanwhile."""
    number = 0
    while number < len(states):
        yield number, states[number]
        number += 1
