"""What Schemathesis cannot know of a request that it makes up: a cursor is good only if a page gave it."""

from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Leave made-up cursors out of requests that must be answered."""
    if case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE:
        case.query.pop("cursor", None)
