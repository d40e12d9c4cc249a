"""The audit trail: who did what, each entry chained to all before it.

Entries stand on one partition of a log, so their order is that of its offsets. The hash of an entry covers its offset,
its bytes, and the hash of the entry before. Whoever knows the hash at one offset can tell whether anything up to there
was removed, changed or moved.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from portfolio.events import TIME_US_MAX

GENESIS = bytes(32)
"""What the first entry is chained to."""

_DOMAIN = b"portfolio.audit.1"
_LENGTH_BYTES = 8


class AuditKind(StrEnum):
    """What an entry is about."""

    CORRECTION = "correction"
    """The books were adjusted, reclassified or restated by somebody."""
    OPERATION = "operation"
    """Somebody ran something on the books as a whole, such as a rebuild."""
    ALERT = "alert"
    """An alert was raised, cleared, acknowledged or silenced."""
    LOGIN = "login"
    """Somebody was let in, or refused."""
    KEY = "key"
    """An API key was made, used for the first time in a while, rotated or revoked."""
    CONFIGURATION = "configuration"
    """A part of the service started with other settings than the last time."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry.

    Entries with the same id are one entry that was written again after a crash; the first counts.
    """

    schema: Literal["audit"] = "audit"
    version: int = 1
    id: str
    time_us: Annotated[int, msgspec.Meta(ge=0, le=TIME_US_MAX)]
    kind: AuditKind
    action: str
    """What was done, as a verb in the past or the name of an event: `created`, `raised`, `cost_adjustment`."""
    actor: str
    """Who did it: a person, an API key's name, or a part of the service."""
    account: str = ""
    """The account that it concerns; empty where it is no single one."""
    subject: str = ""
    """What it was done to."""
    details: dict[str, str] = {}
    """Whatever else there is to say. Never a secret."""


def chained_hash(previous: bytes, offset: int, record: bytes) -> bytes:
    """The hash of an entry: SHA-256 over the hash before it, its offset and its bytes.

    Args:
        previous: Hash of the entry before; `GENESIS` for the first.
        offset: Where the entry stands on its log.
        record: The entry as it stands there.
    """
    digest = hashlib.sha256(_DOMAIN)
    digest.update(previous)
    digest.update(offset.to_bytes(_LENGTH_BYTES, "big"))
    digest.update(len(record).to_bytes(_LENGTH_BYTES, "big"))
    digest.update(record)
    return digest.digest()
