"""Who asks: API keys, their signatures (HMAC-SHA256, RSA, Ed25519), and how long a signed request stays valid."""

import hashlib
import hmac
from base64 import b64decode
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_plus

from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import eddsa, pkcs1_15

from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.parameters import Parameters

_DEFAULT_WINDOW_MS = Decimal(5000)
_LONGEST_WINDOW_MS = 60_000
_AHEAD_US = 1_000_000
_PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----"
# As PEM, an Ed25519 public key has about 110 characters, one of RSA with 1024 bits 270.
_SHORTEST_RSA_KEY = 200


# What a key may do besides reading: trade, withdraw.
_PERMISSIONS = {"read": (False, False), "trade": (True, False), "withdraw": (True, True)}


class KeyKind(Enum):
    """How a key signs."""

    HMAC = "HMAC"
    RSA = "RSA"
    ED25519 = "Ed25519"


class AccountKey(NamedTuple):
    """An account and a key that opens it; `secret` is the public key, as PEM, where the client has a private one."""

    account: str
    key: str
    secret: str
    may_trade: bool = True
    may_withdraw: bool = False

    @property
    def kind(self) -> KeyKind:
        """How the key signs."""
        if not self.secret.startswith(_PUBLIC_KEY):
            return KeyKind.HMAC
        return KeyKind.ED25519 if len(self.secret) < _SHORTEST_RSA_KEY else KeyKind.RSA

    @classmethod
    def parse(cls, text: str) -> "AccountKey":
        """Read `NAME:KEY:SECRET`, or `NAME:KEY:SECRET:PERMISSION`; what a key may do besides reading is in `of`.

        Raises:
            ValueError: The text has another form.
        """
        match text.split(":"):
            case [name, key, secret, *permission] if name and key and secret and len(permission) <= 1:
                return cls.of(name, key, secret, *permission)
        name = text.partition(":")[0]
        raise ValueError(f"account {name!r} is not NAME:KEY:SECRET or NAME:KEY:SECRET:PERMISSION")

    @classmethod
    def of(cls, account: str, key: str, secret: str, permission: str = "trade") -> "AccountKey":
        """A key that may `read` only, `trade` too, or `withdraw` besides.

        A secret that ends in `.pem` names the file of a public key, RSA or Ed25519.

        Raises:
            ValueError: There is no such permission, or no such file.
        """
        if permission not in _PERMISSIONS:
            raise ValueError(f"key of {account!r}: {permission!r} is none of {', '.join(_PERMISSIONS)}")
        may_trade, may_withdraw = _PERMISSIONS[permission]
        return cls(account, key, _read_secret(secret), may_trade, may_withdraw)


def _read_secret(secret: str) -> str:
    if not secret.endswith(".pem"):
        return secret
    try:
        text = Path(secret).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{secret} cannot be read: {error}") from None
    if not text.startswith(_PUBLIC_KEY):
        raise ValueError(f"{secret} is no public key in PEM: give the one that belongs to the client's private key")
    return text


def _has_hmac(secret: str, payload: bytes, signature: str) -> bool:
    expected = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature.lower().encode("ascii", "replace").decode())


def _has_rsa(public_key: str, payload: bytes, signature: str) -> bool:
    try:
        pkcs1_15.new(RSA.import_key(public_key)).verify(SHA256.new(payload), b64decode(signature))
    except ValueError:
        return False
    return True


def _has_ed25519(public_key: str, payload: bytes, signature: str) -> bool:
    try:
        eddsa.new(ECC.import_key(public_key), "rfc8032").verify(payload, b64decode(signature))
    except ValueError:
        return False
    return True


_CHECKS = {KeyKind.HMAC: _has_hmac, KeyKind.RSA: _has_rsa, KeyKind.ED25519: _has_ed25519}


class KeyRing:
    """The API keys that the exchange knows."""

    def __init__(self, keys: Iterable[AccountKey]) -> None:
        self._keys = {each.key: each for each in keys}

    def add(self, key: AccountKey) -> None:
        """Know one more; one of the same name is replaced."""
        self._keys[key.key] = key

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
    parameters.required("timestamp")
    signature = parameters.required("signature")
    has_signed = _CHECKS[owner.kind]
    if not any(has_signed(owner.secret, payload.encode(), signature) for payload in payloads):
        raise ExchangeError(Refusal.BAD_SIGNATURE)
    check_time(parameters, now_us)


def check_time(parameters: Parameters, now_us: int) -> None:
    """Refuse a request whose time is over, or has not come: -1102, -1131 or -1021."""
    sent_us = parameters.time_us("timestamp")
    if sent_us is None:
        raise ExchangeError(Refusal.MISSING, "timestamp")
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
