"""Faults that no retry can repair: the process ends with one sentence for the operator."""


class FatalError(Exception):
    """The process must not continue. The message is one sentence: what is wrong, and what to do."""
