"""The OpenAPI documents of the five services: valid, complete, and the same at every start."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from litestar import Litestar

from shared.chassis.http.openapi_document import missing_examples
from shared.chassis.http.problems import PROBLEM_TYPES
from shared.chassis.messages.plain_text import IN_WORDS
from shared.contracts.examples import EXAMPLES
from tools.openapi_documents import DIRECTORY, PACKAGES, build_applications, document_of, file_of

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def apps() -> dict[str, Litestar]:
    return build_applications()


@pytest.fixture(scope="module")
def documents(apps: dict[str, Litestar]) -> dict[str, Json]:
    return {service: document_of(app) for service, app in apps.items()}


@pytest.fixture(params=PACKAGES)
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def document(documents: dict[str, Json], service: str) -> Json:
    return documents[service]


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method in methods.keys() & METHODS:
            yield f"{method.upper()} {path}", methods[method]


def nodes(node: object) -> Iterator[Json]:
    """Every object in the document."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


def errors_of(value: object, schema: Json, document: Json) -> list[str]:
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [str(error) for error in validator.iter_errors(value)]


def test_document_is_valid_openapi(document: Json):
    schemathesis.openapi.from_dict(document).validate()


def test_document_has_information_and_servers(document: Json):
    assert document["info"]["license"]["identifier"] == "MIT"
    assert "application/problem+json" in document["info"]["description"]
    assert [server["url"] for server in document["servers"]][:2] == ["/", "/api"]


def test_operation_ids_are_unique_verb_phrases(document: Json):
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    assert [name for name in ids if not re.fullmatch(r"[a-z]+([A-Z][a-z]*)*", name)] == []


def test_operation_has_summary_description_and_tag(document: Json):
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= described, name
        assert operation["tags"], name


def test_every_error_lists_its_problem_types(document: Json):
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/problem+json")
            if content:
                assert content["examples"], f"{name} {status}: use responses(<code>)"
                assert re.match(r"`[a-z-]+`: [A-Z]", response["description"])


def test_problem_types_are_listed_and_explained(document: Json):
    [listed, any_other] = document["components"]["schemas"]["Problem"]["properties"]["type"][
        "anyOf"
    ]
    assert any_other == {"type": "string"}
    slugs = {row.slug or code for code, row in PROBLEM_TYPES.items()}
    assert {f"urn:quadrille:problem:{slug}" for slug in slugs} <= set(listed["enum"])
    assert [code for code, row in PROBLEM_TYPES.items() if not row.meaning] == []


def test_every_field_has_an_example(apps: dict[str, Litestar], service: str):
    missing = sorted(missing_examples(apps[service], EXAMPLES))
    assert missing == [], "add them to shared/contracts/examples.py"


def test_examples_conform_to_their_schemas(document: Json):
    wrong = {}
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            if errors := errors_of(example, schema, document):
                wrong[name] = errors
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            if "example" in parameter and (
                errors := errors_of(parameter["example"], parameter["schema"], document)
            ):
                wrong[f"{name} {parameter['name']}"] = errors
    for code, example in document["components"]["examples"].items():
        if errors := errors_of(
            example["value"], {"$ref": "#/components/schemas/Problem"}, document
        ):
            wrong[code] = errors
    assert wrong == {}


def test_no_alternative_permits_everything(document: Json):
    for node in nodes(document):
        for keyword in ("oneOf", "anyOf", "allOf"):
            assert {} not in node.get(keyword, ()), node


def test_every_pattern_is_described_in_words(document: Json):
    patterns = {node["pattern"] for node in nodes(document) if isinstance(node.get("pattern"), str)}
    assert patterns <= IN_WORDS.keys()


def bodies_in_readme() -> list[tuple[str, str]]:
    """The path and the JSON of each curl line with a body."""
    readme = (ROOT / "README.md").read_text().replace("\\\n", "")
    return re.findall(r"curl [^\n`]*?localhost:\d+(/[\w/.-]*)[^\n`]*? -d '([^']+)'", readme)


def test_bodies_in_readme_conform_to_document(documents: dict[str, Json]):
    bodies = bodies_in_readme()
    assert len(bodies) >= 2
    for path, body in bodies:
        [operation, document] = next(
            (methods["post"], document)
            for document in documents.values()
            for template, methods in document["paths"].items()
            if "post" in methods and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path)
        )
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert errors_of(json.loads(body), schema, document) == [], body


def test_document_is_that_of_its_golden_copy(document: Json, service: str):
    golden = DIRECTORY / f"{service}.json"
    assert golden.read_bytes() == file_of(document), "run `make contracts`"
