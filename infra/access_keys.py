"""Keys to the API: what they look like, what they allow, and how they are kept.

A key is shown once, when it is made. What is stored is its Argon2id hash, so whoever reads the database cannot use it.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

Scope = Literal["portfolio:read", "admin:read"]

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""What a key may allow: the books and their stream; the state and the records of the service."""

_TOKEN: Final = re.compile(r"pfk_(?P<id>[a-z0-9]{12})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH: Final = 12
_SECRET_BYTES: Final = 32

_hasher: Final = PasswordHasher()


class Token(NamedTuple):
    """A key as its owner has it.

    Attributes:
        id: Names the key; no secret.
        text: The whole, to be sent as a bearer token.
    """

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """What is known of a key.

    Attributes:
        id: Names it in logs, in the audit trail and on the command line.
        name: What its owner calls it.
        scopes: What it allows.
        accounts: The accounts that it may see; None: all of them.
        created_time_us: When it was made, epoch microseconds.
        expires_time_us: From when on it is refused; None: never.
        revoked_time_us: Since when it is refused; None: it is not.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    accounts: frozenset[str] | None
    created_time_us: int
    expires_time_us: int | None = None
    revoked_time_us: int | None = None

    def refusal(self, now_us: int) -> str | None:
        """Why it is refused at a time; None: it is good."""
        if self.revoked_time_us is not None:
            return "was revoked"
        if self.expires_time_us is not None and self.expires_time_us <= now_us:
            return "has expired"
        return None


def new_token() -> Token:
    """Make a key that nobody has."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    return Token(key_id, f"pfk_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def read_token(text: str) -> Token | None:
    """The key that a text is; None if it is none."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else Token(found["id"], text)


def hash_token(token: Token) -> str:
    """The Argon2id hash of a key, with its parameters and salt. It takes tens of milliseconds by intent."""
    return _hasher.hash(token.text)


def is_hash_of(stored: str, token: Token) -> bool:
    """Whether a stored hash is that of a key. It takes as long as making one."""
    try:
        return _hasher.verify(stored, token.text)
    except (VerificationError, InvalidHashError):
        return False
