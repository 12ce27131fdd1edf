"""Tests are named `test_<subject>_<condition>_<result>`, briefly, so that `pytest -k` finds them."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
MAX_WORDS = 8


def names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def test_names_of_tests_have_eight_words():
    long_names = [
        f"{path.name}: {name}"
        for path in TESTS.rglob("test_*.py")
        for name in names_in(path)
        if name.startswith("test_") and len(name.split("_")) - 1 > MAX_WORDS
    ]
    assert long_names == []
