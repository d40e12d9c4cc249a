"""The examples of the documentation. They are real: a test compares each with what the API answers."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

EXAMPLES_PATH = Path(__file__).parent / "examples.json"


@lru_cache(maxsize=1)
def examples() -> dict[str, Any]:
    """Request (path and query) to the answer it gets in the sample account."""
    if not EXAMPLES_PATH.exists():
        return {}
    found: dict[str, Any] = json.loads(EXAMPLES_PATH.read_text(encoding="utf-8"))
    return found


def add_examples(document: dict[str, Any]) -> None:
    """Show each example at its route."""
    for request, answer in examples().items():
        path = request.partition("?")[0]
        template = next(name for name in document["paths"] if _matches(name, path))
        content = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]
        content["example"] = answer
        content["x-example-request"] = request


def _matches(template: str, path: str) -> bool:
    """Whether a path is one of a route; a route without parameters comes first in the document."""
    parts = zip(template.split("/"), path.split("/"), strict=False)
    return template.count("/") == path.count("/") and all(part == own or part[:1] == "{" for part, own in parts)
