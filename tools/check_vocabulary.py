"""Refuses the words of docs/vocabulary.toml in every file of the project. Usage: check_vocabulary.py [path ...]"""

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

LIST = "docs/vocabulary.toml"
CHECKED = {".py", ".md", ".toml", ".yaml", ".yml", ".html", ".txt", ".css", ".js", ""}
THIRD_PARTY = ("*/swagger_ui/*", "requirements.lock", "LICENSE", LIST)


def main(wanted: list[str]) -> int:
    """Print each refused word with its place; all files of the list, or those below the wanted paths."""
    table = tomllib.loads(Path(LIST).read_text(encoding="utf-8"))
    # Parts of CamelCase names become words of their own; parts of snake_case names are words already.
    parts = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
    words = {_pattern(word): instead for word, instead in table["refused"].items()}
    unchecked = [] if wanted else table["unchecked"]["paths"]
    listed = subprocess.run(
        ["git", "ls-files", *wanted], check=True, capture_output=True, text=True
    )
    found = 0
    for name in listed.stdout.splitlines():
        path = Path(name)
        if path.suffix not in CHECKED or any(fnmatch(name, p) for p in (*THIRD_PARTY, *unchecked)):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for pattern, instead in words.items():
                if match := pattern.search(parts.sub(" ", line)):
                    print(f"{name}:{number}: {match[0]!r}; instead: {instead}")
                    found += 1
    return 1 if found else 0


def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])", re.IGNORECASE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
