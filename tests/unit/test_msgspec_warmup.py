"""Threads that meet a Struct for the first time, all at once."""

import subprocess
import sys

CROWD = """
import sys
from threading import Barrier, Thread
from typing import Annotated

from msgspec import Meta, Struct, convert, defstruct

from shared.chassis.storage.msgspec_warmup import prepare

ROW = {"name": "a", "parts": [{"name": "b"}]}
THREADS = 3


def unheard_of(number):
    name = Annotated[str, Meta(pattern=f"^[a-z]{{1,{number}}}$")]
    part = defstruct("Part", [("name", name)])
    return defstruct("Whole", [("name", name), ("parts", tuple[part, ...])])


def meet(whole):
    start.wait()
    convert(ROW, whole)


sys.setswitchinterval(1e-6)
start = Barrier(THREADS)
wholes = [unheard_of(number) for number in range(1, 500)]
prepare()
for whole in wholes:
    crowd = [Thread(target=meet, args=[whole]) for _ in range(THREADS)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
"""


def test_prepared_structs_are_thread_safe():
    done = subprocess.run([sys.executable, "-c", CROWD], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
