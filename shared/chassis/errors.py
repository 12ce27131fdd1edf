"""Faults that no retry can repair: the process ends with one sentence for its operator."""


class FatalError(Exception):
    """The process must not go on. The message is one sentence: what is wrong, and what to do."""
