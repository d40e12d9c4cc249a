"""Cursors: opaque to clients, and good only for the list that they came from."""

import base64
import binascii
import hashlib
from http import HTTPStatus
from typing import Annotated, Final, TypeVar
from urllib.parse import urlencode

import msgspec
from fastapi import Query, Request

from api.dependencies import Call
from api.problems import ProblemError

CursorQuery = Annotated[
    str | None,
    Query(max_length=1_000, description="Where to go on: `X-Next-Cursor` of the page before, with the same filters."),
]

_NOT_FILTERS: Final = {"cursor", "limit"}
_SCOPE_BYTES: Final = 6

_KeyT = TypeVar("_KeyT", bound=msgspec.Struct)
_encoder: Final = msgspec.json.Encoder()


def place_of(call: Call, cursor: str | None, kind: type[_KeyT]) -> _KeyT | None:
    """The place in the list that a cursor stands for; None for the first page.

    Raises:
        ProblemError: The cursor is none, or comes from another list or other filters.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        content = base64.b64decode(padded, altchars=b"-_", validate=True)
        scope, key = content[:_SCOPE_BYTES], msgspec.json.decode(content[_SCOPE_BYTES:], type=kind)
    except (binascii.Error, ValueError) as error:
        raise _not_usable() from error
    if scope != _scope(call.request):
        raise _not_usable()
    return key


def offer_next(call: Call, last: msgspec.Struct | None) -> None:
    """Say in the headers where the list goes on after its last place, if it does."""
    if last is None:
        return
    content = _scope(call.request) + _encoder.encode(last)
    cursor = base64.urlsafe_b64encode(content).decode().rstrip("=")
    kept = [(name, value) for name, value in call.request.query_params.multi_items() if name != "cursor"]
    call.response.headers["X-Next-Cursor"] = cursor
    call.response.headers["Link"] = f'<{call.request.url.path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'


def _scope(request: Request) -> bytes:
    filters = sorted(item for item in request.query_params.multi_items() if item[0] not in _NOT_FILTERS)
    return hashlib.blake2b(f"{request.url.path}?{urlencode(filters)}".encode(), digest_size=_SCOPE_BYTES).digest()


def _not_usable() -> ProblemError:
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "cursor: This is no cursor of this list with these filters; leave `cursor` out for the first page.",
    )
