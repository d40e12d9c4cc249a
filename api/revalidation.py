"""Whether a client has an answer already (RFC 9110, section 13): then it is told so, and is sent nothing."""

import hashlib
from collections.abc import Iterable
from typing import Final

from fastapi import FastAPI, Request, Response

_TAG_BYTES: Final = 12


class NotModified(Exception):
    """The client has this answer.

    Attributes:
        headers: What the answer would have said of itself.
    """

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__("not modified")
        self.headers = headers


def entity_tag(*of: object) -> str:
    """A weak entity tag: equal for the same parts in the same order.

    It is weak because an answer may be sent compressed or not.
    """
    digest = hashlib.blake2b("\0".join(str(part) for part in of).encode(), digest_size=_TAG_BYTES)
    return f'W/"{digest.hexdigest()}"'


def is_known(etag: str, if_none_match: Iterable[str]) -> bool:
    """Whether the fields `If-None-Match` name a tag, by weak comparison."""
    opaque = etag.removeprefix("W/")
    named = [tag.strip().removeprefix("W/") for field in if_none_match for tag in field.split(",")]
    return opaque in named or "*" in named


def install(app: FastAPI) -> None:
    """Answer 304 where a route finds that the client has its answer."""
    app.add_exception_handler(NotModified, _answer_not_modified)


async def _answer_not_modified(_request: Request, error: Exception) -> Response:
    if not isinstance(error, NotModified):
        raise error
    return Response(status_code=304, headers=error.headers)
