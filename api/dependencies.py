"""What routes need: the reader, the cache, and the parameters that they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Query, Request, Response

from api.problems import ProblemError
from infra.postgres.reader import Reader, View, log_positions
from infra.redis.client import RedisClient
from infra.settings import Settings

LIMIT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Services:
    """What the application has opened."""

    settings: Settings
    reader: Reader
    redis: RedisClient


def services_of(request: Request) -> Services:
    """The services of the application that answers."""
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(services_of)]

AccountQuery = Annotated[
    str | None,
    Query(min_length=1, max_length=100, description="One account; without it, all of them.", examples=["main"]),
]
SymbolQuery = Annotated[
    str | None,
    Query(pattern=r"^[\w.-]{2,40}$", description="One symbol, as Binance names it.", examples=["BTCUSDT"]),
]


@asynccontextmanager
async def open_view(services: Services, response: Response, account: str | None) -> AsyncIterator[View]:
    """Open a consistent view, and name its log positions in the header `X-Log-Position`.

    Raises:
        ProblemError: There is no such account, or the accounts cannot be added up.
    """
    async with services.reader.view(account) as view:
        if account is not None and not view.accounts and account != services.settings.account:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, f"There is no account {account!r}; leave `account` out to see all of them."
            )
        response.headers["X-Log-Position"] = quote(log_positions(tuple(view.accounts.values())), safe="@:,")
        yield view


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
