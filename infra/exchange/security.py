"""Who asks: API keys, HMAC-SHA256 signatures, and the time that a signed request stays valid."""

import hashlib
import hmac
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import quote_plus

from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.parameters import Parameters

_DEFAULT_WINDOW_MS = Decimal(5000)
_LONGEST_WINDOW_MS = 60_000
_AHEAD_US = 1_000_000


class AccountKey(NamedTuple):
    """An account and the key that opens it."""

    account: str
    key: str
    secret: str
    may_trade: bool = True

    @classmethod
    def parse(cls, text: str) -> "AccountKey":
        """Read `NAME:KEY:SECRET`, or `NAME:KEY:SECRET:read` for a key that may only read.

        Raises:
            ValueError: The text has another form.
        """
        parts = text.split(":")
        match parts:
            case [name, key, secret] | [name, key, secret, "read"] if name and key and secret:
                return cls(name, key, secret, may_trade="read" not in parts[3:])
        raise ValueError(f"account {parts[0]!r} is not NAME:KEY:SECRET or NAME:KEY:SECRET:read")


class KeyRing:
    """The API keys that the exchange knows."""

    def __init__(self, keys: Iterable[AccountKey]) -> None:
        self._keys = {each.key: each for each in keys}

    def name_of(self, key: str | None) -> str:
        """The name of the account of an API key; empty when there is none."""
        return self._keys[key].account if key in self._keys else ""

    def find(self, key: str | None) -> AccountKey:
        """The account of an API key: -2014 when none was sent, -2015 when it is unknown."""
        if not key:
            raise ExchangeError(Refusal.BAD_KEY_FORMAT)
        try:
            return self._keys[key]
        except KeyError:
            raise ExchangeError(Refusal.UNKNOWN_KEY) from None


def verify(owner: AccountKey, payloads: Iterable[str], parameters: Parameters, now_us: int) -> None:
    """Refuse a request whose signature is wrong or whose time is over.

    Args:
        owner: Whose key was sent.
        payloads: The texts that the client may have signed; one must fit.
        parameters: `signature`, `timestamp`, `recvWindow`.
        now_us: The time of the exchange.

    Raises:
        ExchangeError: -1102, -1022, -1131 or -1021.
    """
    sent_us = parameters.time_us("timestamp")
    if sent_us is None:
        raise ExchangeError(Refusal.MISSING, "timestamp")
    signature = parameters.required("signature").lower()
    secret = owner.secret.encode()
    expected = (hmac.new(secret, payload.encode(), hashlib.sha256).hexdigest() for payload in payloads)
    if not any(hmac.compare_digest(each, signature.encode("ascii", "replace").decode()) for each in expected):
        raise ExchangeError(Refusal.BAD_SIGNATURE)
    window_ms = parameters.decimal("recvWindow") or _DEFAULT_WINDOW_MS
    if window_ms > _LONGEST_WINDOW_MS:
        raise ExchangeError(Refusal.WINDOW_TOO_LONG)
    if sent_us >= now_us + _AHEAD_US:
        raise ExchangeError(Refusal.AHEAD_OF_SERVER)
    if now_us - sent_us > window_ms * 1000:
        raise ExchangeError(Refusal.OUTSIDE_WINDOW)


def rest_payload(query: str, body: str) -> str:
    """What a REST client signs: query string and body as they were sent, without the signature."""
    return _unsigned(query) + _unsigned(body)


def websocket_payloads(parameters: dict[str, str]) -> tuple[str, str]:
    """What a WebSocket API client signs: the parameters by name; plain, as documented, or percent-encoded."""
    pairs = sorted((name, value) for name, value in parameters.items() if name != "signature")
    plain = "&".join(f"{name}={value}" for name, value in pairs)
    encoded = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    return plain, encoded


def _unsigned(text: str) -> str:
    return "&".join(pair for pair in text.split("&") if not pair.startswith("signature="))
