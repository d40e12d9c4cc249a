"""The parameters of a request, read as Binance reads them, refused as Binance refuses them."""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from infra.exchange.decimals import ZERO
from infra.exchange.errors import ExchangeError, Refusal

_DECIMAL = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_INTEGER = r"^[0-9]{1,20}$"
_SYMBOL = r"^[A-Z0-9-_.]{1,20}$"
_CLIENT_ORDER_ID = r"^[a-zA-Z0-9-_]{1,36}$"
_PLACES = 8
_DAY_US = 86_400_000_000
# Milliseconds stay below this until the year 5138, microseconds are above it since 1973.
_LEAST_MICROSECONDS = 100_000_000_000_000

Choice = TypeVar("Choice", bound=StrEnum)


class Parameters:
    """Named texts; each reader takes one name and refuses what is malformed (-1100, -1102, -1105, ...)."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    @classmethod
    def from_pairs(cls, query: Iterable[tuple[str, str]], body: Iterable[tuple[str, str]]) -> "Parameters":
        """Merge a query string and a body; the query string wins, a name sent twice in one of them is refused."""
        values: dict[str, str] = {}
        for pairs in (list(body), list(query)):
            if len({name for name, _ in pairs}) < len(pairs):
                raise ExchangeError(Refusal.DUPLICATE_PARAMETER)
            values.update(pairs)
        return cls(values)

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def text(self, name: str) -> str | None:
        """A text, or nothing when it was not sent; an empty one is refused."""
        value = self._values.get(name)
        if value == "":
            raise ExchangeError(Refusal.EMPTY, name)
        return value

    def required(self, name: str) -> str:
        """A text that must be there."""
        value = self._values.get(name)
        if not value:
            raise ExchangeError(Refusal.MISSING, name)
        return value

    def symbol(self) -> str:
        """The mandatory symbol, well-formed but perhaps unknown."""
        self.required("symbol")
        return self._matching("symbol", _SYMBOL) or ""

    def symbols(self) -> list[str] | None:
        """`symbol`, or the JSON array `symbols`; nothing when neither was sent, refused when both were."""
        if "symbol" in self and "symbols" in self:
            raise ExchangeError(Refusal.BAD_COMBINATION)
        if "symbol" in self:
            return [self.symbol()]
        text = self.text("symbols")
        if text is None:
            return None
        try:
            symbols = json.loads(text)
        except ValueError:
            symbols = None
        if not isinstance(symbols, list) or not all(isinstance(each, str) for each in symbols):
            raise ExchangeError(Refusal.ILLEGAL_CHARACTERS, "symbols", _SYMBOL)
        return symbols

    def decimal(self, name: str) -> Decimal:
        """A number of at most eight places; zero when it was not sent."""
        text = self._matching(name, _DECIMAL)
        if text is None:
            return ZERO
        if len(text.partition(".")[2].rstrip("0")) > _PLACES:
            raise ExchangeError(Refusal.TOO_PRECISE, name)
        return Decimal(text)

    def integer(self, name: str) -> int | None:
        """A whole number, or nothing when it was not sent."""
        text = self._matching(name, _INTEGER)
        return None if text is None else int(text)

    def limit(self, default: int = 500, maximum: int = 1000) -> int:
        """How many rows are wanted; more than the maximum is taken for the maximum."""
        limit = self.integer("limit")
        if limit == 0:
            raise ExchangeError(Refusal.BAD_PARAMETER, "limit")
        return min(default if limit is None else limit, maximum)

    def time_us(self, name: str) -> int | None:
        """A time, sent in milliseconds or microseconds, in microseconds; nothing when it was not sent."""
        value = self.integer(name)
        if value is None:
            return None
        return value if value >= _LEAST_MICROSECONDS else value * 1000

    def day_us(self) -> tuple[int | None, int | None]:
        """`startTime` and `endTime`, at most a day apart (-1127)."""
        start_us, end_us = self.time_us("startTime"), self.time_us("endTime")
        if end_us is not None and end_us % 1000 == 0:
            # A whole millisecond means all of it: what happened has microseconds that its sender does not see.
            end_us += 999
        if start_us is not None and end_us is not None and end_us - start_us > _DAY_US + 999:
            raise ExchangeError(Refusal.LOOKUP_TOO_LONG)
        return start_us, end_us

    def boolean(self, name: str, *, default: bool) -> bool:
        """`true` or `false`, in any case."""
        text = (self.text(name) or str(default)).lower()
        if text not in {"true", "false"}:
            raise ExchangeError(Refusal.ILLEGAL_CHARACTERS, name, "^(?i)(true|false)$")
        return text == "true"

    def choice(self, name: str, choices: type[Choice], refusal: Refusal) -> Choice:
        """One of some words, mandatory."""
        text = self.required(name)
        try:
            return choices(text)
        except ValueError:
            raise ExchangeError(refusal) from None

    def client_order_id(self, name: str) -> str:
        """A client order id; empty when it was not sent."""
        return self._matching(name, _CLIENT_ORDER_ID) or ""

    def _matching(self, name: str, pattern: str) -> str | None:
        text = self.text(name)
        if text is not None and not re.match(pattern, text, re.ASCII):
            raise ExchangeError(Refusal.ILLEGAL_CHARACTERS, name, pattern)
        return text
