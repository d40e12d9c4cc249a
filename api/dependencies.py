"""What routes need: the reader, the cache, and the parameters that they share."""

import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final, Literal
from urllib.parse import quote

from fastapi import Depends, Path, Query, Request, Response
from starlette.requests import HTTPConnection

from api.access import access_of
from api.problems import ProblemError
from api.revalidation import NotModified, entity_tag, is_known
from api.schemas import instant_us
from infra.postgres.past import Moment
from infra.postgres.reader import Reader
from infra.postgres.view import View, books_version, log_positions
from infra.redis.client import RedisClient
from infra.settings import Settings
from portfolio import LogPosition

LIMIT_MAX = 1_000

_NO_ACCOUNT: Final = "There is no account {account!r}; leave `account` out to see all of them."

_POSITION: Final = re.compile(r"(?P<account>[^@,]{1,100})@(?P<partition>[0-9]{1,6}):(?P<offset>[0-9]{1,18})")
_POSITIONS: Final = "^[^@,]{1,100}@[0-9]{1,6}:[0-9]{1,18}(,[^@,]{1,100}@[0-9]{1,6}:[0-9]{1,18})*$"


@dataclass(frozen=True, slots=True)
class Services:
    """What the application has opened."""

    settings: Settings
    reader: Reader
    redis: RedisClient


# FastAPI runs a dependency that is a plain function in another thread, which costs more than all that is done here: so
# each of them is a coroutine, though it waits for nothing.


async def services_of(request: Request) -> Services:
    """The services of the application that answers."""
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(services_of)]

AccountQuery = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00]+$",
        description="One account; without it, all of them.",
        examples=["main"],
    ),
]
SymbolQuery = Annotated[
    str | None,
    Query(pattern=r"^[\w.-]{2,40}$", description="One symbol, as Binance names it.", examples=["BTCUSDT"]),
]


SymbolPath = Annotated[
    str, Path(pattern=r"^[\w.-]{2,40}$", description="A symbol, as Binance names it.", examples=["BTCUSDT"])
]
AsOfQuery = Annotated[
    str | None,
    Query(
        max_length=500,
        description="The past: a time (RFC 3339), or a position of the log as `X-Log-Position` names it "
        "(`main@3:120`). Without it: now.",
        examples=["2026-01-03T00:00:00Z"],
        json_schema_extra={
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "pattern": _POSITIONS},
            ]
        },
    ),
]


@dataclass(frozen=True, slots=True)
class Call:
    """One request for data, and the headers of its answer.

    Attributes:
        at: The moment that is asked for; None: now.
    """

    services: Services
    request: Request
    response: Response
    at: Moment | None = None

    @asynccontextmanager
    async def view(
        self, account: str | None, *, depends_on: Literal["books", "prices", "rows"] = "prices"
    ) -> AsyncIterator[View]:
        """Open a consistent view, and name its log positions in the header `X-Log-Position`.

        Args:
            account: The one account that is looked at; None: all of them.
            depends_on: What an answer is made of: the books; the books and the newest prices; or also rows that change
                while these stay what they are (points of the equity curve that arrive late, the strategies that
                fills are attributed to), so that the route calls `tag` itself when it has read them.

        Raises:
            ProblemError: There is no such account.
            NotModified: The client has this answer already.
        """
        async with self.services.reader.view(visible(self.request, account), self.at) as view:
            is_account = view.accounts or account in {None, self.services.settings.account} or self.at is not None
            if not is_account:
                raise ProblemError(HTTPStatus.NOT_FOUND, _NO_ACCOUNT.format(account=account))
            states = tuple(view.accounts.values())
            self.response.headers["X-Log-Position"] = quote(log_positions(states), safe="@:,")
            if depends_on == "books":
                self.tag(books_version(states))
            elif depends_on == "prices":
                self.tag(books_version(states), *(state.valued_time_us for state in states))
            yield view

    def tag(self, *of: object) -> None:
        """Name what the answer was made of in its `ETag`.

        Raises:
            NotModified: The client has the answer that was made of the same.
        """
        settings, url = self.services.settings, self.request.url
        etag = entity_tag(
            self.request.app.version,
            settings.account,
            settings.reporting_currency,
            sorted(access_of(self.request).accounts or ()),
            url.path,
            url.query,
            *of,
        )
        self.response.headers["ETag"] = etag
        if is_known(etag, self.request.headers.getlist("If-None-Match")):
            raise NotModified({name: self.response.headers[name] for name in ("ETag", "X-Log-Position")})


def visible(connection: HTTPConnection, account: str | None) -> Collection[str] | None:
    """The accounts that a request is to be told of; None: all of them.

    Args:
        connection: The request, which may see some accounts only.
        account: The one that it asks for; None: all that it may see.

    Raises:
        ProblemError: It may not see the account, which is told as if there were none.
    """
    access = access_of(connection)
    if account is None:
        return access.accounts
    if not access.may_see(account):
        raise ProblemError(HTTPStatus.NOT_FOUND, _NO_ACCOUNT.format(account=account))
    return (account,)


def require_all_accounts(connection: HTTPConnection) -> None:
    """Let a request go on only if it may see every account, for what cannot be told of some only.

    Raises:
        ProblemError: It may see some accounts only.
    """
    if access_of(connection).accounts is not None:
        raise ProblemError(
            HTTPStatus.FORBIDDEN, "This is of all accounts, and the key may see some only; use one for all accounts."
        )


async def present_call_of(services: ServicesOf, request: Request, response: Response) -> Call:
    """The request for what is not kept of the past."""
    return Call(services, request, response)


PresentCallOf = Annotated[Call, Depends(present_call_of)]


async def call_of(services: ServicesOf, request: Request, response: Response, as_of: AsOfQuery = None) -> Call:
    """The request for data that is being answered.

    Raises:
        ProblemError: The moment cannot be understood.
    """
    return Call(services, request, response, None if as_of is None else moment_of(as_of))


def moment_of(text: str) -> Moment:
    """The moment that a text names.

    Raises:
        ProblemError: It names none.
    """
    if "@" not in text:
        try:
            return Moment(time_us=instant_us(text))
        except ValueError as error:
            raise _no_moment(text) from error
    found = [_POSITION.fullmatch(part) for part in text.split(",")]
    offsets = {match["account"]: LogPosition(int(match["partition"]), int(match["offset"])) for match in found if match}
    if len(offsets) < len(found):
        raise _no_moment(text)
    return Moment(offsets=offsets)


def _no_moment(text: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"as_of: {text[:60]!r} is neither a time such as 2026-01-03T00:00:00Z nor a position such as main@3:120.",
    )


CallOf = Annotated[Call, Depends(call_of)]


def common_reporting(services: Services, view: View) -> str:
    """The currency in which all accounts of the view are kept.

    Raises:
        ProblemError: They are kept in several, which cannot be added up.
    """
    kept_in = sorted({state.reporting for state in view.accounts.values()})
    if len(kept_in) > 1:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            f"The accounts are kept in {' and '.join(kept_in)}, which cannot be added up; "
            f"choose one with `account`: {', '.join(view.accounts)}.",
        )
    return kept_in[0] if kept_in else services.settings.reporting_currency
