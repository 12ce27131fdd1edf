"""The gate of `make check`: planted changes of an event, and what it reports."""

from pathlib import Path
from shutil import copyfile, copytree
from typing import Annotated, ClassVar, Literal, NamedTuple

import msgspec
import pytest

from shared.chassis.messages.catalog import Catalog, Upcaster
from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.event import Event, Id
from shared.chassis.testing import recorded
from tools.contracts.consumers import Contracts
from tools.contracts.documents import documents
from tools.contracts.gate import Gate
from tools.contracts.released import Released

GOLDEN = Path(__file__).parent / "golden"
Text = Annotated[str, msgspec.Meta(max_length=20)]
ShortText = Annotated[str, msgspec.Meta(max_length=10)]
Size = Literal["S", "M", "L"]


class ShirtEvent(Event, frozen=True, kw_only=True):
    SOURCE: ClassVar[str] = "tailor"
    ENTITY: ClassVar[str] = "shirt_id"

    shirt_id: Id


class ShirtSewn(ShirtEvent, frozen=True, kw_only=True):
    size: Size
    owner: Text


def planted(**fields: object) -> type[Event]:
    """The event with other fields, or other class variables: `SCHEMA_VERSION=2`."""
    constants = {name: value for name, value in fields.items() if name.isupper()}
    types = {"size": Size, "owner": Text, **{n: v for n, v in fields.items() if not n.isupper()}}
    return msgspec.defstruct(
        "ShirtSewn",
        [
            (name, *kind) if isinstance(kind, tuple) else (name, kind)
            for name, kind in types.items()
            if kind is not None
        ],
        bases=(ShirtEvent,),
        namespace={**constants, "__annotations__": dict.fromkeys(constants, ClassVar[object])},
        frozen=True,
        kw_only=True,
        rename="camel",
        omit_defaults=True,
    )


def rename_owner(data: dict[str, object]) -> dict[str, object]:
    data["wearer"] = data.pop("owner")
    return data


class Workshop(NamedTuple):
    """The released contracts of one event, and its samples."""

    directory: Path

    def contracts(self, event_type: type[Event] | None, upcaster: Upcaster | None) -> Contracts:
        event_types = [event_type] if event_type else []
        upcasters = {("ShirtSewn", 1): upcaster} if upcaster else {}
        catalog = Catalog(event_types, key_issuer="tailor", upcasters=upcasters)
        consumers = dict.fromkeys(catalog.event_types, ("laundry", "shop"))
        return Contracts(catalog, consumers)

    @property
    def samples(self) -> Path:
        return self.directory / "golden"

    def release(self, event_type: type[Event]) -> None:
        contracts, released = self.contracts(event_type, None), Released.read(self.directory)
        for path, content in documents(contracts, released, self.samples).items():
            (self.directory / path).parent.mkdir(exist_ok=True)
            (self.directory / path).write_bytes(content)

    def keep_sample(self, event: Event) -> Path:
        path = self.samples / f"ShirtSewn.v{event.SCHEMA_VERSION}.json"
        path.write_bytes(encode(recorded(event)))
        return path

    def problems(
        self, event_type: type[Event] | None, upcaster: Upcaster | None = None
    ) -> list[str]:
        contracts = self.contracts(event_type, upcaster)
        return Gate(contracts, Released.read(self.directory), self.samples).problems()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """`ShirtSewn` was released as version 1."""
    copytree(GOLDEN, tmp_path / "golden")
    workshop = Workshop(tmp_path)
    workshop.keep_sample(ShirtSewn(shirt_id="s1", size="M", owner="Ann"))
    workshop.release(ShirtSewn)
    return workshop


def test_unchanged_event_has_no_problems(workshop: Workshop):
    assert workshop.problems(ShirtSewn) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"price": (int | None, None)},
        {"size": Literal["S", "M", "L", "XL"]},
        {"owner": Annotated[str, msgspec.Meta(max_length=30)]},
    ],
    ids=["optional field", "more values", "wider bound"],
)
def test_compatible_change_keeps_the_schema_version(workshop: Workshop, fields: dict[str, object]):
    assert workshop.problems(planted(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"owner": None}, "owner: was removed"),
        ({"owner": None, "wearer": Text}, "owner: was removed, or renamed to wearer"),
        ({"price": int}, "price: is a new required field"),
        ({"owner": int}, "owner: no longer accepts string, only integer"),
        ({"owner": ShortText}, "owner: maxLength is 10, was 20"),
        ({"size": Literal["S", "L"]}, "size: no longer accepts M"),
    ],
    ids=["removed", "renamed", "required", "other type", "bound", "enum"],
)
def test_incompatible_change_is_refused_and_names_consumers(
    workshop: Workshop, fields: dict[str, object], reason: str
):
    (problem,) = workshop.problems(planted(**fields))
    assert "ShirtSewn v1" in problem
    assert "consumers: laundry, shop" in problem
    assert f"- {reason}\n" in problem
    assert "set SCHEMA_VERSION to 2" in problem


SECOND = planted(SCHEMA_VERSION=2, owner=None, wearer=Text)


def test_second_version_with_upcaster_and_samples_passes(workshop: Workshop):
    workshop.keep_sample(SECOND(shirt_id="s1", size="M", wearer="Ann"))
    assert workshop.problems(SECOND, rename_owner) == []


def test_second_version_without_upcaster_is_refused(workshop: Workshop):
    workshop.keep_sample(SECOND(shirt_id="s1", size="M", wearer="Ann"))
    (problem,) = workshop.problems(SECOND)
    assert "ShirtSewn.v1.json cannot be read, its upcaster is missing or wrong" in problem
    assert "consumers: laundry, shop" in problem


def test_second_version_with_wrong_upcaster_is_refused(workshop: Workshop):
    workshop.keep_sample(SECOND(shirt_id="s1", size="M", wearer="Ann"))
    (problem,) = workshop.problems(SECOND, lambda data: data)
    assert "missing required field `wearer`" in problem


@pytest.mark.parametrize("version", [1, 2])
def test_version_without_golden_sample_is_refused(workshop: Workshop, version: int):
    workshop.keep_sample(SECOND(shirt_id="s1", size="M", wearer="Ann"))
    (workshop.samples / f"ShirtSewn.v{version}.json").unlink()
    (problem,) = workshop.problems(SECOND, rename_owner)
    assert f"ShirtSewn.v{version}.json is missing: a sample of version {version}" in problem


def test_sample_of_another_version_is_refused(workshop: Workshop):
    later = workshop.keep_sample(SECOND(shirt_id="s1", size="M", wearer="Ann"))
    copyfile(later, workshop.samples / "ShirtSewn.v1.json")
    (problem,) = workshop.problems(SECOND, rename_owner)
    assert "ShirtSewn.v1.json is no event of version 1" in problem


def test_schema_version_rises_by_one_only(workshop: Workshop):
    (problem,) = workshop.problems(planted(SCHEMA_VERSION=3))
    assert "SCHEMA_VERSION must be 1 or 2" in problem


def test_schema_version_never_falls(workshop: Workshop):
    workshop.keep_sample(SECOND(shirt_id="s1", size="M", wearer="Ann"))
    workshop.release(SECOND)
    (problem,) = workshop.problems(ShirtSewn)
    assert "SCHEMA_VERSION must be 2 or 3" in problem


def test_schema_of_an_earlier_version_stays(workshop: Workshop):
    before = (workshop.directory / "schemas" / "ShirtSewn.v1.json").read_bytes()
    workshop.keep_sample(SECOND(shirt_id="s1", size="M", wearer="Ann"))
    workshop.release(SECOND)
    assert (workshop.directory / "schemas" / "ShirtSewn.v1.json").read_bytes() == before


def test_edited_schema_is_refused(workshop: Workshop):
    """Otherwise an incompatible change could be hidden."""
    schema = workshop.directory / "schemas" / "ShirtSewn.v1.json"
    schema.write_text(schema.read_text().replace("owner", "wearer"))
    (problem,) = workshop.problems(planted(owner=None, wearer=Text))
    assert "schemas/ShirtSewn.v1.json is missing or was edited" in problem


def test_removed_event_is_refused(workshop: Workshop):
    (problem,) = workshop.problems(None)
    assert "ShirtSewn is not in the catalog any more; consumers: laundry, shop" in problem


def test_event_of_another_publisher_is_refused(workshop: Workshop):
    (problem,) = workshop.problems(planted(SOURCE="shop"))
    assert "its publisher was tailor, is shop" in problem


def test_event_about_another_entity_is_refused(workshop: Workshop):
    (problem,) = workshop.problems(planted(ENTITY="owner"))
    assert "its entity was shirtId, is owner" in problem


def test_wider_field_is_noted_for_consumers(workshop: Workshop):
    contracts = workshop.contracts(planted(size=Literal["S", "M", "L", "XL"]), None)
    gate = Gate(contracts, Released.read(workshop.directory), workshop.samples)
    assert list(gate.notes()) == [
        "ShirtSewn v1: size accepts more than before; upgrade first: laundry, shop."
    ]
