"""The keys to the API, as they are stored."""

import time
from collections.abc import Iterable
from typing import Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from infra.access_keys import AccessKey, Scope, Token, hash_token, new_token
from infra.errors import RemediableError
from infra.postgres.audit import new_entry, record
from infra.postgres.connection import connected
from portfolio.audit import AuditKind

Connection = asyncpg.Connection | PoolConnectionProxy

_COLUMNS: Final = "id, name, scopes, accounts, created_time_us, expires_time_us, revoked_time_us"


class KeyStore:
    """Makes, lists and ends keys; each deed with its entry in the audit trail, in one transaction."""

    def __init__(self, dsn: str, *, actor: str) -> None:
        """Prepare.

        Args:
            dsn: postgresql://user:password@host:port/name, of a role that may write.
            actor: Who does it, for the audit trail.
        """
        self._dsn = dsn
        self._actor = actor

    async def create(
        self,
        name: str,
        *,
        scopes: Iterable[Scope],
        accounts: Iterable[str] | None = None,
        expires_time_us: int | None = None,
    ) -> Token:
        """Make a key. What is returned is nowhere else.

        Args:
            name: What its owner calls it.
            scopes: What it allows.
            accounts: The accounts that it may see; None: all.
            expires_time_us: From when on it is refused; None: never.
        """
        key = AccessKey(
            id="",
            name=name,
            scopes=frozenset(scopes),
            accounts=None if accounts is None else frozenset(accounts),
            created_time_us=time.time_ns() // 1_000,
            expires_time_us=expires_time_us,
        )
        async with connected(self._dsn) as connection, connection.transaction():
            return await self._insert(connection, key, "created")

    async def all(self) -> list[AccessKey]:
        """Every key that ever was, the newest first."""
        async with connected(self._dsn) as connection:
            rows = await connection.fetch(f"SELECT {_COLUMNS} FROM access_keys ORDER BY created_time_us DESC, id")  # noqa: S608 - fixed names
        return [_key(row) for row in rows]

    async def revoke(self, key_id: str) -> AccessKey:
        """End a key now.

        Raises:
            RemediableError: There is no such key, or it was revoked before.
        """
        async with connected(self._dsn) as connection, connection.transaction():
            key = await _require(connection, key_id)
            await connection.execute(
                "UPDATE access_keys SET revoked_time_us = $2 WHERE id = $1", key_id, time.time_ns() // 1_000
            )
            await self._tell(connection, "revoked", key)
        return key

    async def rotate(self, key_id: str, *, grace_us: int) -> Token:
        """Make a key that allows the same, and let the old one end after a while.

        Args:
            key_id: The old key.
            grace_us: How long the old one is still good, microseconds.

        Raises:
            RemediableError: There is no such key, or it was revoked.
        """
        now_us = time.time_ns() // 1_000
        async with connected(self._dsn) as connection, connection.transaction():
            key = await _require(connection, key_id)
            ends_us = min(now_us + grace_us, key.expires_time_us or 2**63 - 1)
            await connection.execute("UPDATE access_keys SET expires_time_us = $2 WHERE id = $1", key_id, ends_us)
            return await self._insert(connection, key, "rotated", replaces=key_id)

    async def _insert(self, connection: Connection, key: AccessKey, action: str, *, replaces: str = "") -> Token:
        token = new_token()
        await connection.execute(
            f"INSERT INTO access_keys ({_COLUMNS}, hash) VALUES ($1, $2, $3, $4, $5, $6, NULL, $7)",  # noqa: S608 - fixed names
            token.id,
            key.name,
            sorted(key.scopes),
            None if key.accounts is None else sorted(key.accounts),
            time.time_ns() // 1_000,
            key.expires_time_us,
            hash_token(token),
        )
        await self._tell(connection, action, key, subject=token.id, replaces=replaces)
        return token

    async def _tell(
        self, connection: Connection, action: str, key: AccessKey, *, subject: str = "", replaces: str = ""
    ) -> None:
        details = {
            "name": key.name,
            "scopes": " ".join(sorted(key.scopes)),
            "accounts": "all" if key.accounts is None else " ".join(sorted(key.accounts)),
        }
        if replaces:
            details["replaces"] = replaces
        entry = new_entry(AuditKind.KEY, action, actor=self._actor, subject=subject or key.id, details=details)
        await record(connection, entry)


async def find_key(connection: Connection, key_id: str) -> tuple[AccessKey, str] | None:
    """A key and its hash; None if there is none of that id."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS}, hash FROM access_keys WHERE id = $1", key_id)  # noqa: S608 - fixed names
    return None if row is None else (_key(row), row["hash"])


async def _require(connection: Connection, key_id: str) -> AccessKey:
    found = await find_key(connection, key_id)
    if found is None:
        raise RemediableError(f"there is no key {key_id!r}", "`portfolio keys list` shows them all")
    key, _ = found
    if key.revoked_time_us is not None:
        raise RemediableError(f"the key {key_id} was revoked", "Make a new one with `portfolio keys create`")
    return key


def _key(row: asyncpg.Record) -> AccessKey:
    return AccessKey(
        id=row["id"],
        name=row["name"],
        scopes=frozenset(row["scopes"]),
        accounts=None if row["accounts"] is None else frozenset(row["accounts"]),
        created_time_us=row["created_time_us"],
        expires_time_us=row["expires_time_us"],
        revoked_time_us=row["revoked_time_us"],
    )
