"""Usage: python -m tools.contracts [write]."""

import sys
from pathlib import Path

from tools.contracts.consumers import contracts_of_the_shop
from tools.contracts.documents import documents
from tools.contracts.gate import Gate
from tools.contracts.released import Released

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "contracts"
SAMPLES = ROOT / "tests" / "unit" / "golden"


def main(arguments: list[str], directory: Path = DIRECTORY) -> int:
    """Without `write`: fail for incompatible changes, and for files that are not up to date."""
    contracts, released = contracts_of_the_shop(), Released.read(directory)
    gate = Gate(contracts, released, SAMPLES)
    if problems := gate.problems():
        print(*problems, sep="\n")
        return 1
    generated = documents(contracts, released, SAMPLES)
    if arguments == ["write"]:
        _write(generated, directory)
        for note in gate.notes():
            print(note)
        return 0
    stale = sorted(
        path
        for path in generated.keys() | released.files.keys()
        if generated.get(path) != released.files.get(path)
    )
    if stale:
        print(
            *(f"contracts/{path} is not up to date" for path in stale),
            "Run `make contracts`.",
            sep="\n",
        )
    return 1 if stale else 0


def _write(generated: dict[str, bytes], directory: Path) -> None:
    (directory / "schemas").mkdir(parents=True, exist_ok=True)
    for path, file in generated.items():
        (directory / path).write_bytes(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
