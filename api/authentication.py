"""What a bearer token allows: one of our own keys, or a token of an OpenID Connect provider, where one is set."""

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import httpx
import jwt

from api.access import Access, Refused
from infra.access_keys import SCOPES, AccessKey, Token, is_hash_of, read_token
from infra.postgres.audit import encode_entry, new_entry
from infra.postgres.reader import Reader
from infra.redis.access import AccessNotes
from infra.settings import Settings
from portfolio.audit import AuditKind

logger = logging.getLogger(__name__)

_REMEMBERED_S: Final = 10.0
_REMEMBERED_MAX: Final = 10_000
_NOTED_EVERY_S: Final = 60.0
_AUDITED_EVERY_S: Final = 3_600.0
_HASHES_AT_ONCE: Final = 2
_OIDC_TIMEOUT_S: Final = 5.0
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(slots=True)
class _Known:
    """A token that was let in, until it is looked up again."""

    access: Access
    until: float


class Authenticator:
    """Tells what tokens allow. A good one is remembered for ten seconds, so that long is a revoked one still good."""

    def __init__(self, settings: Settings, reader: Reader, notes: AccessNotes) -> None:
        """Prepare.

        Args:
            settings: Whether there is a provider of tokens, and which.
            reader: Where keys are read.
            notes: Told of who came.
        """
        self._reader = reader
        self._notes = notes
        self._known: dict[bytes, _Known] = {}
        self._noted: dict[str, float] = {}
        self._audited: dict[str, float] = {}
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)
        self._provider = None if settings.oidc_issuer is None else Provider(settings, settings.oidc_issuer)

    async def __call__(self, text: str) -> Access:
        """What a token allows.

        Raises:
            Refused: It is not accepted.
            DatabaseUnavailable: It cannot be looked up.
        """
        digest = hashlib.sha256(text.encode()).digest()
        known = self._known.get(digest)
        now = time.monotonic()
        if known is None or known.until < now:
            access = await self._look_up(text, is_known=known is not None)
            if len(self._known) >= _REMEMBERED_MAX:
                self._known.clear()
            known = self._known[digest] = _Known(access, now + _REMEMBERED_S)
        await self._note(known.access, now)
        return known.access

    async def _look_up(self, text: str, *, is_known: bool) -> Access:
        token = read_token(text)
        if token is not None:
            return await self._own_key(token, is_known=is_known)
        if self._provider is not None and text.count(".") == 2:  # noqa: PLR2004 - the parts of a JWT
            return await self._provider.access(text)
        raise Refused("it is no key of ours")

    async def _own_key(self, token: Token, *, is_known: bool) -> Access:
        found = await self._reader.access_key(token.id)
        if found is None:
            raise Refused(f"there is no key {token.id}")
        key, stored = found
        if (why := key.refusal(time.time_ns() // 1_000)) is not None:
            raise Refused(f"the key {key.id} ({key.name}) {why}")
        # A token that was found right once is right: only the row may have changed since.
        if not is_known and not await self._is_right(stored, token):
            raise Refused(f"the secret is not that of the key {key.id} ({key.name})")
        return _access(key)

    async def _is_right(self, stored: str, token: Token) -> bool:
        async with self._hashing:
            return await asyncio.to_thread(is_hash_of, stored, token)

    async def _note(self, access: Access, now: float) -> None:
        if now - self._noted.get(access.id, -_NOTED_EVERY_S) >= _NOTED_EVERY_S:
            self._noted[access.id] = now
            await self._notes.used(access.id, time.time_ns() // 1_000)
        if now - self._audited.get(access.id, -_AUDITED_EVERY_S) >= _AUDITED_EVERY_S:
            self._audited[access.id] = now
            entry = new_entry(AuditKind.LOGIN, "let in", actor=access.id, subject="api")
            await self._notes.announce(encode_entry(entry))


class Provider:
    """Tokens of an OpenID Connect provider, checked against the keys that it publishes."""

    def __init__(self, settings: Settings, issuer: str) -> None:
        """Prepare; the provider is asked when its first token comes.

        Args:
            settings: The audience, and the claims that say what is allowed.
            issuer: Its address, as in the claim `iss`.
        """
        self._issuer = issuer
        self._audience = settings.oidc_audience
        self._scope_claim = settings.oidc_scope_claim
        self._accounts_claim = settings.oidc_accounts_claim
        self._keys: jwt.PyJWKClient | None = None

    async def access(self, text: str) -> Access:
        """What a token allows.

        Raises:
            Refused: It is not accepted, or its provider cannot be asked.
        """
        try:
            claims = await asyncio.to_thread(self._claims, text)
        except (jwt.PyJWTError, OSError, ValueError) as error:
            raise Refused(f"the token of the provider is not accepted: {error}") from error
        told = claims.get(self._scope_claim, "")
        granted = told.split() if isinstance(told, str) else [str(scope) for scope in told]
        accounts = None
        if self._accounts_claim:
            accounts = frozenset(str(account) for account in claims.get(self._accounts_claim) or ())
        return Access(f"oidc:{claims['sub']}", frozenset(scope for scope in SCOPES if scope in granted), accounts)

    def _claims(self, text: str) -> dict[str, Any]:
        if self._keys is None:
            self._keys = jwt.PyJWKClient(_keys_address(self._issuer), timeout=int(_OIDC_TIMEOUT_S))
        return jwt.decode(
            text,
            self._keys.get_signing_key_from_jwt(text),
            algorithms=list(_ALGORITHMS),
            issuer=self._issuer,
            audience=self._audience,
            options={"require": ["exp", "iss", "sub", "aud"]},
        )


def _keys_address(issuer: str) -> str:
    """Where the provider publishes its keys, from its discovery document."""
    try:
        answer = httpx.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout=_OIDC_TIMEOUT_S)
        return str(answer.raise_for_status().json()["jwks_uri"])
    except (httpx.HTTPError, KeyError) as error:
        raise ValueError(f"the provider's discovery document cannot be read: {error}") from error


def _access(key: AccessKey) -> Access:
    return Access(key.id, key.scopes, key.accounts)
