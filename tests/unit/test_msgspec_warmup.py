"""Threads that use a Struct for the first time at the same moment."""

import subprocess
import sys

PROGRAM = """
import sys
from threading import Barrier, Thread
from typing import Annotated

from msgspec import Meta, Struct, convert, defstruct

from shared.chassis.storage.msgspec_warmup import prepare

ROW = {"name": "a", "parts": [{"name": "b"}]}
THREADS = 3


def new_struct(number):
    name = Annotated[str, Meta(pattern=f"^[a-z]{{1,{number}}}$")]
    part = defstruct("Part", [("name", name)])
    return defstruct("Whole", [("name", name), ("parts", tuple[part, ...])])


def use(whole):
    start.wait()
    convert(ROW, whole)


sys.setswitchinterval(1e-6)
start = Barrier(THREADS)
wholes = [new_struct(number) for number in range(1, 500)]
prepare()
for whole in wholes:
    threads = [Thread(target=use, args=[whole]) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_prepared_structs_are_thread_safe():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
