"""Faults that end the process with one sentence for the operator, and the exit codes."""

import os
from typing import ClassVar

FAILED = 1
"""The exit code of a process that may work when it is started again."""
REFUSED = os.EX_CONFIG
"""The exit code of a process that would end again in the same way: its settings or its database must be changed first."""


class FatalError(Exception):
    """The process must not continue. The message is one sentence: what is wrong, and what to do."""

    exit_code: ClassVar[int] = REFUSED
