"""The OpenAPI document: what every route has in common is said of every route, and the examples are shown."""

from typing import Any, Final

from fastapi import FastAPI

from api.access import scope_of
from api.examples import add_examples
from api.problems import RESPONSES
from api.schemas import Problem

_SCHEME: Final = "key"
_GUARDED: Final = (401, 403, 429, 503)


def install(app: FastAPI) -> None:
    """Complete the document that the application makes of its routes."""
    make_openapi = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = make_openapi()
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        _describe_access(document)
        add_examples(document)
        return document

    app.openapi = complete  # type: ignore[method-assign]


def _describe_access(document: dict[str, Any]) -> None:
    """Say of each route that is not open to everybody which scope it needs, and how it answers without."""
    document["components"]["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key that `portfolio keys create` made. Without one the API answers on its own machine only.",
        }
    }
    for path, operations in document["paths"].items():
        if (scope := scope_of(path)) is None:
            continue
        for operation in operations.values():
            # The empty one: where the API listens on this machine only, it is open.
            operation["security"] = [{_SCHEME: []}, {}]
            operation["x-scope"] = scope
            for status in _GUARDED:
                operation["responses"].setdefault(str(status), RESPONSES[status])
