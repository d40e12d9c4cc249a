"""The OpenAPI document: what every route has in common is said of every route, and the examples are shown."""

from typing import Any, Final

from fastapi import FastAPI

from api.access import scope_of
from api.examples import add_examples
from api.problems import RESPONSES
from api.schemas import Problem

_SCHEME: Final = "key"
_GUARDED: Final = (401, 403, 429, 503)
_DATA_HEADERS: Final = {
    "ETag": "What the answer was made of; send it back as `If-None-Match`",
    "X-Log-Position": "Where in the log each account stands: `main@3:120`",
}
_PAGE_HEADERS: Final = {
    "X-Next-Cursor": "Where the list goes on; absent on the last page",
    "Link": "The request for the next page; absent on the last page",
}


def install(app: FastAPI) -> None:
    """Complete the document that the application makes of its routes."""
    make_openapi = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = make_openapi()
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        _describe_access(document)
        for operations in document["paths"].values():
            for operation in operations.values():
                _describe_fields(operation, document["components"]["schemas"])
                _describe_headers(operation)
        add_examples(document)
        return document

    app.openapi = complete  # type: ignore[method-assign]


def _describe_access(document: dict[str, Any]) -> None:
    """Say of each route that is not open to everybody which scope it needs, and how it answers without."""
    document["components"]["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key that `portfolio keys create` made. Without it the API answers on its own machine.",
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


def _describe_fields(operation: dict[str, Any], models: dict[str, Any]) -> None:
    """Say which fields a list has to choose from, and that its rows then have those only."""
    parameter = _parameter(operation, "fields")
    if parameter is None:
        return
    content = operation["responses"]["200"]["content"]["application/json"]
    name = content["schema"]["items"]["$ref"].rpartition("/")[2]
    model = models[name]
    fields = "|".join(model["properties"])
    parameter["schema"] = {"type": "string", "maxLength": 1_000, "pattern": f"^({fields})(,({fields}))*$"}
    parameter["example"] = ",".join(list(model["properties"])[:2])
    chosen = f"{name}Fields"
    models[chosen] = {**{key: value for key, value in model.items() if key != "required"}, "title": chosen}
    content["schema"] = {
        "anyOf": [
            content["schema"],
            {"type": "array", "items": {"$ref": f"#/components/schemas/{chosen}"}, "title": "With `fields`"},
        ]
    }


def _describe_headers(operation: dict[str, Any]) -> None:
    """Name the headers by which an answer is asked for again, and a list is read on."""
    answer = operation["responses"]["200"]
    if "304" in operation["responses"]:
        described = {name: _header(text) for name, text in _DATA_HEADERS.items()}
        answer.setdefault("headers", {}).update(described)
        operation["responses"]["304"]["headers"] = described
    if _parameter(operation, "cursor") is not None:
        answer.setdefault("headers", {}).update({name: _header(text) for name, text in _PAGE_HEADERS.items()})


def _parameter(operation: dict[str, Any], name: str) -> dict[str, Any] | None:
    parameters: list[dict[str, Any]] = operation.get("parameters", [])
    return next((parameter for parameter in parameters if parameter["name"] == name), None)


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}
