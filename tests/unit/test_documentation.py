"""The documents name files, functions, tests and settings that exist."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from shared.chassis.settings import FILE, PREFIX
from shared.settings import ShopSettings
from tools.contracts.consumers import contracts_of_the_shop
from tools.tables import with_tables

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if path.name != "CHANGELOG.md"
)
GENERATED = ("deploy/secrets",)
DIRECTORIES = {path.name for path in ROOT.iterdir() if path.is_dir()} - {".venv", "data", "build"}

every_document = pytest.mark.parametrize("document", DOCUMENTS)


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def code_spans(document: str) -> list[str]:
    without_blocks = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", without_blocks)


def paths_named_in(document: str) -> set[str]:
    spans = {span.partition("::")[0] for span in code_spans(document)}
    return {
        span
        for span in spans
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", span) and span.split("/")[0] in DIRECTORIES
    }


@cache
def functions_of_tests() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {name.rpartition(".")[2] for path in files for name in definitions_in(path)}


def definitions_in(path: Path) -> set[str]:
    return set(_definitions(ast.parse(path.read_text()).body))


def _definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
            case ast.ClassDef(name=name):
                yield prefix + name
                yield from _definitions(node.body, f"{prefix}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name


@every_document
def test_named_paths_exist(document: str):
    missing = {path for path in paths_named_in(document) if not (ROOT / path).exists()}
    assert missing - {*GENERATED} == set()


@every_document
def test_named_definitions_exist(document: str):
    for path, _, name in (span.partition("::") for span in code_spans(document) if "::" in span):
        assert name in definitions_in(ROOT / path), f"{path} does not define {name}"


@every_document
def test_links_lead_to_files(document: str):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(document))
    local = [target for target in targets if not target.startswith("http")]
    assert [
        target for target in local if not (ROOT / document).parent.joinpath(target).exists()
    ] == []


@every_document
def test_named_tests_exist(document: str):
    names = {span for span in code_spans(document) if re.fullmatch(r"test_\w+", span)}
    assert names - functions_of_tests() == set()


@every_document
def test_named_settings_exist(document: str):
    names = set(re.findall(rf"{PREFIX}([A-Z_]*[A-Z])\b", text_of(document)))
    files = {f"{name}{FILE}" for name in ShopSettings.SECRETS}
    assert {name.lower() for name in names} <= {*ShopSettings.__struct_fields__, *files}


def test_every_setting_has_a_row():
    rows = [line for line in text_of("docs/settings.md").splitlines() if line.startswith("| `")]
    names = [name.lower() for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])]
    assert sorted(names) == sorted({*ShopSettings.__struct_fields__} - {"failpoint"})


def test_defaults_of_settings_are_true():
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| `?([\w.:/-]+)`? \|", text_of("docs/settings.md"), re.MULTILINE
    )
    assert len(rows) > 30
    settings = ShopSettings()
    for name, default in rows:
        value = getattr(settings, name.lower())
        assert default.removeprefix("./") == str(value).lower().replace("jpy", "JPY"), name


@every_document
def test_tables_follow_from_the_code(document: str):
    text = text_of(document)
    assert with_tables(text) == text, "run `make docs`"


@pytest.mark.parametrize("document", ["README.md", "docs/operations.md", "docs/settings.md"])
def test_lines_are_short(document: str):
    assert [line for line in text_of(document).splitlines() if len(line) > 160] == []


def messages_in_diagrams() -> list[tuple[str, str, str]]:
    """Sender, receiver and event of each arrow."""
    return re.findall(r"^ +(\w+)->>(\w+): (\w+)$", text_of("README.md"), re.MULTILINE)


@pytest.mark.parametrize(("sender", "receiver", "event"), messages_in_diagrams())
def test_diagram_sends_events_to_their_consumers(sender: str, receiver: str, event: str):
    contracts = contracts_of_the_shop()
    assert contracts.catalog.publisher_of(contracts.catalog.event_types[event]) == sender
    assert receiver in contracts.consumers[event]


def rows_of_guarantees() -> list[list[str]]:
    lines = [line for line in text_of("docs/guarantees.md").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[0] != "promise"]


def test_every_guarantee_has_four_columns():
    rows = rows_of_guarantees()
    assert rows
    assert [row for row in rows if len(row) != 4] == []


def test_every_guarantee_names_its_test():
    """That the tests exist is checked for every document."""
    unproved = [
        promise
        for promise, _condition, _limit, tests in rows_of_guarantees()
        if not re.search(r"`(test_\w+|tests/[\w/]+\.py)`", tests)
    ]
    assert unproved == []
