"""Refuses the words of docs/vocabulary.toml in every file of the project. Usage: check_vocabulary.py [path ...]"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

LIST = "docs/vocabulary.toml"
CHECKED = {".py", ".md", ".toml", ".yaml", ".yml", ".html", ".txt", ".css", ".js", ""}
THIRD_PARTY = ("*/swagger_ui/*", "tests/fixtures/asyncapi/*", "requirements.lock", "LICENSE", LIST)
MIGRATIONS = "*/versions/v*.py"
"""They name the columns of earlier releases."""
CAMEL_CASE_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def main(paths: list[str]) -> int:
    """Print each refused word with its place: in all files of the project, or in those below the given paths."""
    table = tomllib.loads(Path(LIST).read_text(encoding="utf-8"))
    files = subprocess.run(["git", "ls-files", *paths], check=True, capture_output=True, text=True)
    problems = [
        problem
        for name in files.stdout.splitlines()
        if Path(name).suffix in CHECKED
        and not Path(name).is_symlink()
        and not any(fnmatch(name, path) for path in (*THIRD_PARTY, MIGRATIONS))
        for problem in _problems_in(Path(name), table)
    ]
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def _problems_in(path: Path, table: dict[str, Any]) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    words = {_pattern(word): replacement for word, replacement in table["refused"].items()}
    for number, line in enumerate(text.splitlines(), 1):
        # Parts of CamelCase names become words of their own; parts of snake_case names are words already.
        separated = CAMEL_CASE_BOUNDARY.sub(" ", line)
        for pattern, replacement in words.items():
            if match := pattern.search(separated):
                yield f"{path}:{number}: {match[0]!r}; instead: {replacement}"
    if path.suffix == ".py":
        for number, name in _variables(ast.parse(text)):
            if name in table["refused_variables"]["names"]:
                yield f"{path}:{number}: variable {name!r}; instead: the noun"


def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])", re.IGNORECASE)


def _variables(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case _:
                pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
