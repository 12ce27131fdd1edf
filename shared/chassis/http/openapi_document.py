"""What we make of Litestar's OpenAPI document: schemas by msgspec, the problems of each route, and examples.

Litestar describes structs less exactly than msgspec, which reads them: `oneOf [X, {}]` for a tuple of X.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from inspect import cleandoc
from typing import Any, NamedTuple

import msgspec
from litestar import Litestar, MediaType, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import KwargDefinition, ParameterKwarg
from litestar.response import ServerSentEvent
from litestar.routes import HTTPRoute
from litestar.typing import FieldDefinition

from shared.chassis.http.auth import admin_only, operators_only, signed_in_only
from shared.chassis.http.gate import needs_tables
from shared.chassis.http.openapi_examples import Examples
from shared.chassis.http.problems import (
    MEDIA_TYPE,
    Problem,
    ProblemResponse,
    all_types,
    example_of,
    type_of,
)
from shared.chassis.storage.idempotency import MAX_KEY_LENGTH, MIN_GUEST_KEY_LENGTH, RETENTION_HOURS

Json = dict[str, Any]

BODY = "body"
"""In a route's `opt`: the type of a body that its handler reads itself."""

REF = "#/components/schemas/"
_SUCCESS = {200: "OK", 201: "Created", 202: "Accepted", 204: "Done; there is no body"}
_BEARER = {"bearer": list[str]()}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": f"the same key and body get the same answer again, for {RETENTION_HOURS} hours; "
    f"without a token it needs at least {MIN_GUEST_KEY_LENGTH} characters that nobody can guess, such as a UUID",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
}
_OF_PARAMETER: tuple[str, ...] = ("name", "in", "required", "description")
_HEADERS = {
    401: {"WWW-Authenticate": "`Bearer`"},
    429: {"Retry-After": "seconds until the limit permits the request"},
    503: {"Retry-After": "seconds until a retry makes sense"},
}
_OF_COMMANDS = {
    "Consistency-Token": "send it to the read API to read what this command has changed",
    "Idempotent-Replayed": "`true` if the answer was stored under the `Idempotency-Key`",
}
_OF_EDITABLE = {
    "ETag": "send it as `If-Match` with a change, to be refused if it has changed since"
}


class Route(NamedTuple):
    """An operation of Litestar's document, and what it was made from."""

    path: str
    method: str
    handler: HTTPRouteHandler
    operation: Json

    @property
    def body(self) -> object | None:
        """The type of its body."""
        field = self.handler.parsed_data_field
        return field.annotation if field else self.handler.opt.get(BODY)

    @property
    def is_command(self) -> bool:
        """Whether it changes the service's state by events: those handlers pass on what the writer stored."""
        if self.method == "get":
            return False
        return bool(self.handler.parsed_fn_signature.return_type.annotation == Response[bytes])

    @property
    def takes_key(self) -> bool:
        return self.method == "post" and bool(self.handler.opt.get("takes_key", True))

    @property
    def has_entity_tag(self) -> bool:
        return bool(self.handler.opt.get("has_entity_tag"))

    def successes(self) -> dict[int, ResponseSpec]:
        """Its responses other than problems; `data_container` is None where there is no body."""
        declared = {
            status: spec
            for status, spec in (self.handler.responses or {}).items()
            if not isinstance(spec, ProblemResponse)
        }
        return {self.handler.status_code: _of_return_type(self.handler), **declared}


class Schemas:
    """The component schemas of these types, by msgspec."""

    def __init__(self, types: Mapping[object, str | None]) -> None:
        """The values name generic types, which have no name of their own."""
        made, components = msgspec.json.schema_components(types, ref_template=REF + "{name}")
        names = {
            schema["$ref"].removeprefix(REF): name
            for schema, name in zip(made, types.values(), strict=True)
            if name
        }
        self._by_type: dict[object, Json] = {
            of: _renamed(schema, names) for of, schema in zip(types, made, strict=True)
        }
        self.components = {
            names.get(name, name): _renamed(schema, names)
            for name, schema in sorted(components.items())
        }
        for name, schema in self.components.items():
            if "title" in schema:
                schema["title"] = name
            if "description" in schema:  # releases of Python differ in its indentation
                schema["description"] = cleandoc(schema["description"])

    def of(self, type_: object) -> Json:
        """Of one of the types."""
        return self._by_type[type_]


def build(app: Litestar, values: Mapping[str, object]) -> Json:
    """The document; `values` are the examples' fields."""
    return _build(app, Examples(values))


def missing_examples(app: Litestar, values: Mapping[str, object]) -> set[str]:
    """The fields, as `Schema.field`, that have no example."""
    examples = Examples(values)
    _build(app, examples)
    return examples.missing


def _build(app: Litestar, examples: Examples) -> Json:
    document: Json = msgspec.to_builtins(app.openapi_schema.to_schema(), str_keys=True)
    routes = sorted(_routes(app, document["paths"]), key=lambda route: route.path)
    schemas = Schemas(_types(routes))
    codes: set[str] = set()
    for route in routes:
        problems = _problems(route)
        codes.update(*problems.values())
        _complete(route, schemas, problems, document["components"]["schemas"], examples)
    sent = set(_reachable([schemas.of(route.body) for route in routes if route.body], schemas))
    for name in schemas.components.keys() - sent:
        for field in schemas.components[name].get("properties", {}).values():
            field.pop("default", None)  # only senders need it, and some depend on the process
    schemas.components["Problem"]["properties"]["type"] = {
        "anyOf": [{"type": "string", "enum": all_types()}, {"type": "string"}],
        "description": "a later release may add types",
    }
    examples.add_to(schemas.components)
    used = {tag for route in routes for tag in route.operation.get("tags", ())}
    document["tags"] = [tag for tag in document["tags"] if tag["name"] in used]
    document["paths"] = {route.path: document["paths"][route.path] for route in routes}
    document["components"] |= {
        "schemas": schemas.components,
        "examples": {code: _problem_example(code) for code in sorted(codes)},
    }
    return document


def _reachable(node: object, schemas: Schemas) -> Iterator[str]:
    """The names of the component schemas that this part of a document refers to, and so on."""
    match node:
        case {"$ref": str(reference), **others}:
            name = reference.removeprefix(REF)
            yield name
            yield from _reachable([schemas.components[name], others], schemas)
        case dict():
            yield from _reachable(list(node.values()), schemas)
        case list():
            for value in node:
                yield from _reachable(value, schemas)
        case _:
            pass


def _routes(app: Litestar, paths: Json) -> Iterator[Route]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            if handler.resolve_include_in_schema():
                path = route.path_format or "/"
                for method in sorted(name.lower() for name in handler.http_methods):
                    yield Route(path, method, handler, paths[path][method])


def _types(routes: list[Route]) -> dict[object, str | None]:
    types: dict[object, str | None] = {Problem: None}
    for route in routes:
        if route.body is not None:
            types[route.body] = None
        for spec in route.successes().values():
            if spec.data_container is not None:
                field = FieldDefinition.from_annotation(spec.data_container)
                types[field.annotation] = _declared_name(field)
    return types


def _of_return_type(handler: HTTPRouteHandler) -> ResponseSpec:
    field = handler.parsed_fn_signature.return_type
    if field.is_subclass_of((type(None), ServerSentEvent)):
        return ResponseSpec(None)
    if field.is_subclass_of(Response):
        return ResponseSpec(field.inner_types[0].raw)
    return ResponseSpec(field.raw, media_type=handler.media_type or MediaType.JSON)


def _declared_name(field: FieldDefinition) -> str | None:
    definition = field.kwarg_definition
    return definition.schema_component_key if isinstance(definition, KwargDefinition) else None


def _problems(route: Route) -> dict[int, list[str]]:
    """The codes of the problems that a route may respond with, by status."""
    handler = route.handler
    guards = {getattr(guard, "func", guard) for guard in handler.resolve_guards()}
    codes = ["invalid-request", "unauthorized"]
    if not route.path.startswith("/health"):
        codes.append("busy")
    if needs_tables(route.path):
        codes += ["rebuilding", "storage-unavailable"]
    if {admin_only, operators_only} & guards:
        codes.append("forbidden")
    if route.body is not None:
        codes.append("request-entity-too-large")
    if route.is_command:
        codes.append("event-too-large")
    if route.takes_key:
        codes += ["request-in-flight", "idempotency-key-reused"]
    problems: dict[int, list[str]] = {}
    for code in codes:
        problems.setdefault(type_of(code).status, []).append(code)
    for status, spec in (handler.responses or {}).items():
        if isinstance(spec, ProblemResponse):
            problems.setdefault(status, []).extend(spec.codes)
    return {status: sorted(set(problems[status])) for status in sorted(problems)}


def _complete(
    route: Route,
    schemas: Schemas,
    problems: dict[int, list[str]],
    litestars: Json,
    examples: Examples,
) -> None:
    handler, operation = route.handler, route.operation
    operation["summary"] = handler.summary or handler.handler_name.replace("_", " ").capitalize()
    operation["responses"] = {
        **{
            str(status): _success(route, status, spec, schemas)
            for status, spec in route.successes().items()
        },
        **{str(status): _problem(status, codes) for status, codes in problems.items()},
    }
    guards = {getattr(guard, "func", guard) for guard in handler.resolve_guards()}
    is_guarded = bool({admin_only, operators_only, signed_in_only} & guards)
    operation["security"] = [_BEARER] if is_guarded else [{}, _BEARER]
    if route.body is not None:
        field = handler.parsed_data_field
        operation["requestBody"] = {
            "required": not (field and field.has_default),
            "content": {"application/json": {"schema": schemas.of(route.body)}},
        }
    parameters = [
        _parameter(route, parameter, litestars, schemas.components, examples)
        for parameter in operation.get("parameters", ())
    ]
    if route.takes_key:
        parameters.append(_KEY)
    if parameters:
        operation["parameters"] = parameters


def _success(route: Route, status: int, spec: ResponseSpec, schemas: Schemas) -> Json:
    has_description = spec.description != ResponseSpec(None).description
    described: Json = {"description": spec.description if has_description else _SUCCESS[status]}
    if spec.data_container is not None:
        field = FieldDefinition.from_annotation(spec.data_container)
        media_type = spec.media_type.value if isinstance(spec.media_type, Enum) else spec.media_type
        described["content"] = {media_type: {"schema": schemas.of(field.annotation)}}
    headers = {
        **(_OF_COMMANDS if route.is_command else {}),
        **(_OF_EDITABLE if route.has_entity_tag else {}),
    }
    if headers:
        described["headers"] = _headers(headers)
    return described


def _problem(status: int, codes: list[str]) -> Json:
    lines = [f"`{type_of(code).slug or code}`: {type_of(code).meaning}" for code in codes]
    described: Json = {
        "description": "\n\n".join(lines),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": REF + "Problem"},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }
    if headers := _HEADERS.get(status):
        described["headers"] = _headers(headers)
    return described


def _headers(descriptions: Mapping[str, str]) -> Json:
    return {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in descriptions.items()
    }


def _problem_example(code: str) -> Json:
    return {"summary": type_of(code).meaning, "value": msgspec.to_builtins(example_of(code))}


def _parameter(
    route: Route, parameter: Json, litestars: Json, components: Json, examples: Examples
) -> Json:
    """Without null, which no URL can express, and without what is the default anyway."""
    schema = dict(parameter["schema"])
    alternatives = schema.pop("oneOf", None) or schema.pop("allOf", None) or [{}]
    [alternative] = [option for option in alternatives if option.get("type") != "null"]
    schema = {**alternative, **schema}
    schema.pop("description", None)
    if (reference := schema.get("$ref")) and reference.removeprefix(REF) not in components:
        enum = litestars[reference.removeprefix(REF)]
        schema = {"type": enum["type"], "enum": sorted(enum["enum"])}
    plain: Json = {name: parameter[name] for name in _OF_PARAMETER if name in parameter}
    schema |= _bounds(route.handler, parameter["name"])
    example = examples.of_parameter(route.operation["operationId"], parameter["name"], schema)
    return {**plain, "schema": schema, **({} if example is None else {"example": example})}


def _bounds(handler: HTTPRouteHandler, name: str) -> Json:
    """The bounds of a parameter; Litestar leaves out a bound of 0, and writes others as floats."""
    fields = {**handler.resolve_layered_parameters(), **handler.parsed_fn_signature.parameters}
    for field_name, field in fields.items():
        definition = field.kwarg_definition
        if isinstance(definition, ParameterKwarg) and name in {field_name, definition.name}:
            bounds = {"minimum": definition.ge, "maximum": definition.le}
            return {keyword: bound for keyword, bound in bounds.items() if bound is not None}
    return {}


def _renamed(node: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    """The part of a schema, whose references lead to the new names."""
    match node:
        case {"$ref": str(reference), **others}:
            name = reference.removeprefix(REF)
            return {"$ref": REF + names.get(name, name), **others}
        case dict():
            return {key: _renamed(value, names) for key, value in node.items()}
        case list():
            return [_renamed(value, names) for value in node]
        case _:
            return node
