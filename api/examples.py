"""The examples of the documentation. They are real: a test compares each with what the API answers."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from api.schemas import Problem

EXAMPLES_PATH = Path(__file__).parent / "examples.json"


@lru_cache(maxsize=1)
def examples() -> dict[str, Any]:
    """Request (path and query) to the answer it gets in the sample account."""
    if not EXAMPLES_PATH.exists():
        return {}
    found: dict[str, Any] = json.loads(EXAMPLES_PATH.read_text(encoding="utf-8"))
    return found


def add_examples(app: FastAPI) -> None:
    """Show each example at its route, and the problem document at its schema."""
    by_path = {request.partition("?")[0]: (request, answer) for request, answer in examples().items()}
    make_openapi = app.openapi

    def with_examples() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = make_openapi()
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        for path, (request, answer) in by_path.items():
            template = next(name for name in document["paths"] if _matches(name, path))
            content = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]
            content["example"] = answer
            content["x-example-request"] = request
        return document

    app.openapi = with_examples  # type: ignore[method-assign]


def _matches(template: str, path: str) -> bool:
    """Whether a path is one of a route; a route without parameters comes first in the document."""
    parts = zip(template.split("/"), path.split("/"), strict=False)
    return template.count("/") == path.count("/") and all(part == own or part[:1] == "{" for part, own in parts)
