"""Believable values of the fields of the services' APIs, for the examples in their OpenAPI documents."""

EXAMPLES: dict[str, object] = {}
