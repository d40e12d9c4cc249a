"""Who may ask what: every route, with every kind of key."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import jwt
import pytest
import redis.asyncio
from cryptography.hazmat.primitives.asymmetric import rsa

from api.access import scope_of
from api.app import create_app
from infra.access_keys import SCOPES
from infra.postgres.access_keys import KeyStore
from infra.postgres.migrate import migrate
from infra.postgres.reader import Reader
from infra.redis.access import ANNOUNCED, last_uses
from infra.settings import Settings
from tests.integration.test_api import store
from tests.support.http_server import Served, serve_documents
from tests.support.journal import sample_account

pytestmark = pytest.mark.integration

NO_REDIS = "redis://127.0.0.1:1/0"
OPEN_PATHS = {"/health/live", "/health/ready", "/openapi.json"}


@asynccontextmanager
async def serving(database_url: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    values = {"host": "0.0.0.0", "redis_url": NO_REDIS, "kafka_brokers": "127.0.0.1:1", **settings}
    app = create_app(Settings(database_url=database_url, _env_file=None, **values))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def url(database_url: str) -> str:
    await migrate(database_url)
    return database_url


@pytest.fixture
def keys(url: str) -> KeyStore:
    return KeyStore(url, actor="tester")


def data_routes() -> Iterator[str]:
    """Every route that there is, with a value for each parameter of its path."""
    for path in create_app(Settings(_env_file=None)).openapi()["paths"]:
        if path not in OPEN_PATHS:
            yield path.replace("{symbol}", "BTCUSDT")


async def test_no_route_answers_without_its_scope(url: str, keys: KeyStore) -> None:
    tokens = {scope: (await keys.create(scope, scopes=[scope])).text for scope in SCOPES}
    async with serving(url) as client:
        for path in data_routes():
            needed = scope_of(path)
            assert needed is not None, f"{path}: a route that nobody thought of is not open"
            without = await client.get(path)
            assert without.status_code == 401, path
            assert without.headers["WWW-Authenticate"].startswith("Bearer")
            assert without.headers["Content-Type"] == "application/problem+json"
            for scope, token in tokens.items():
                if scope == needed and path == "/portfolio/stream":
                    continue
                status = (await client.get(path, headers=bearer(token))).status_code
                assert (status in {401, 403}) == (scope != needed), (path, scope, status)


@pytest.mark.parametrize("path", ["/portfolio", "/portfolios/x", "/nowhere", "/a/b.js", "/admin", "/metrics", "//"])
def test_what_nobody_thought_of_is_closed(path: str) -> None:
    assert scope_of(path) is not None


async def test_no_route_shows_another_account(url: str, keys: KeyStore) -> None:
    await store(url, [*sample_account()[1], *sample_account("second")[1]])
    mine = bearer((await keys.create("mine", scopes=SCOPES, accounts=["second"])).text)
    every = bearer((await keys.create("every", scopes=SCOPES)).text)
    async with serving(url) as client:
        for path in data_routes():
            if path == "/portfolio/stream" or not path.startswith(("/portfolio", "/metrics/")):
                continue
            assert (await client.get(f"{path}?account=main", headers=mine)).status_code == 404, path
            seen = await client.get(path, headers=mine)
            assert seen.json() == (await client.get(f"{path}?account=second", headers=every)).json(), path
            assert '"main"' not in seen.text
            assert '"main"' not in (await client.get(f"{path}?as_of=main@3:2", headers=mine)).text, path
            # The same question of somebody who sees more has another answer, so it must have another tag.
            other = await client.get(path, headers=every | {"If-None-Match": seen.headers.get("ETag", "")})
            assert other.status_code != 304, path
        told = await client.get("/admin/status", headers=mine)
        assert [row["account"] for row in told.json()["accounts"]] == ["second"]
        assert (await client.get("/admin/status?account=main", headers=mine)).status_code == 404


async def test_a_revoked_key_and_an_expired_one_are_refused(url: str, keys: KeyStore) -> None:
    revoked = await keys.create("revoked", scopes=["portfolio:read"])
    await keys.revoke(revoked.id)
    expired = await keys.create("expired", scopes=["portfolio:read"], expires_time_us=time.time_ns() // 1_000 - 1)
    async with serving(url) as client:
        for token in (revoked, expired):
            answer = await client.get("/portfolio/overview", headers=bearer(token.text))
            assert answer.status_code == 401, token
            assert token.id not in answer.text


async def test_a_rotated_key_is_good_for_its_grace_only(url: str, keys: KeyStore) -> None:
    old = await keys.create("bot", scopes=["portfolio:read"], accounts=["main"])
    new = await keys.rotate(old.id, grace_us=60_000_000)
    async with serving(url) as client:
        for token in (old, new):
            assert (await client.get("/portfolio/overview", headers=bearer(token.text))).status_code == 200
    newest = await keys.rotate(new.id, grace_us=0)
    async with serving(url) as client:
        assert (await client.get("/portfolio/overview", headers=bearer(new.text))).status_code == 401
        assert (await client.get("/portfolio/overview", headers=bearer(newest.text))).status_code == 200
    assert {key.accounts for key in await keys.all()} == {frozenset({"main"})}


async def test_the_database_has_no_key_in_it(url: str, keys: KeyStore) -> None:
    token = await keys.create("bot", scopes=["portfolio:read"])
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT * FROM access_keys")
    outbox = await connection.fetch("SELECT record FROM audit_outbox")
    await connection.close()
    assert rows[0]["hash"].startswith("$argon2id$")
    assert token.text not in str(rows)
    assert any(b'"created"' in row["record"] and token.id.encode() in row["record"] for row in outbox)
    assert token.text.encode() not in b"".join(row["record"] for row in outbox)


async def test_this_machine_needs_no_key_but_a_page_from_elsewhere_does(url: str) -> None:
    async with serving(url, host="127.0.0.1") as client:
        for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
            assert (await client.get("/portfolio/overview", headers={"Host": host})).status_code == 200, host
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1"):
            answer = await client.get("/portfolio/overview", headers={"Host": host})
            assert answer.status_code == 403, host
        wrong = await client.get("/portfolio/overview", headers={"Host": "localhost"} | bearer("pfk_wrong"))
        assert wrong.status_code == 401


async def test_who_fails_often_must_wait_and_is_told_of(url: str, redis_url: str) -> None:
    async with serving(url, redis_url=redis_url) as client, redis.asyncio.from_url(redis_url) as store_:
        await store_.flushdb()
        for _ in range(10):
            assert (await client.get("/portfolio/overview", headers=bearer("pfk_x"))).status_code == 401
        answer = await client.get("/portfolio/overview", headers=bearer("pfk_x"))
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) in range(1, 61)
        announced: Any = await store_.xrange(ANNOUNCED)
    told = [json.loads(fields[b"record"]) for _, fields in announced if b"record" in fields]
    assert [entry["action"] for entry in told] == ["refused"] * 10
    assert told[0]["kind"] == "login"


async def test_a_key_may_ask_so_often(url: str, keys: KeyStore, redis_url: str) -> None:
    token = await keys.create("bot", scopes=["portfolio:read"])
    async with (
        serving(url, redis_url=redis_url, api_rate_per_minute=5) as one,
        serving(url, redis_url=redis_url, api_rate_per_minute=5) as other,
    ):
        statuses = [
            (await client.get("/portfolio/accounts", headers=bearer(token.text))).status_code
            for client in (one, other, one, other, one, other, one)
        ]
        assert 429 in statuses[5:]
        assert statuses[:3] == [200, 200, 200]
    assert token.id in await last_uses(redis_url)


async def test_without_redis_and_without_postgres(url: str, keys: KeyStore) -> None:
    token = await keys.create("bot", scopes=["portfolio:read"])
    async with serving(url) as client:
        assert (await client.get("/portfolio/overview", headers=bearer(token.text))).status_code == 200
    async with serving("postgresql://nobody@127.0.0.1:1/none") as client:
        answer = await client.get("/portfolio/overview", headers=bearer(token.text))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


@pytest.fixture(scope="module")
def provider() -> Iterator[tuple[Served, rsa.RSAPrivateKey]]:
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    with serve_documents() as served:
        served.documents["/.well-known/openid-configuration"] = {"jwks_uri": f"{served.url}/keys"}
        served.documents["/keys"] = {"keys": [public | {"kid": "one", "use": "sig", "alg": "RS256"}]}
        yield served, private


def token_of(private: rsa.RSAPrivateKey, issuer: str, **claims: Any) -> str:
    told = {"iss": issuer, "aud": "portfolio", "sub": "ada", "exp": time.time() + 60, "scope": "portfolio:read"}
    return jwt.encode(told | claims, private, algorithm="RS256", headers={"kid": "one"})


async def test_tokens_of_a_provider(url: str, provider: tuple[Served, rsa.RSAPrivateKey]) -> None:
    served, private = provider
    await store(url, [*sample_account()[1], *sample_account("second")[1]])
    async with serving(url, oidc_issuer=served.url, oidc_accounts_claim="accounts") as client:

        async def status(path: str = "/portfolio/accounts", **claims: Any) -> int:
            return (await client.get(path, headers=bearer(token_of(private, served.url, **claims)))).status_code

        good = bearer(token_of(private, served.url, accounts=["second"]))
        seen = await client.get("/portfolio/accounts", headers=good)
        assert [row["account"] for row in seen.json()] == ["second"]
        assert await status("/admin/status", accounts=["second"]) == 403
        assert await status(exp=time.time() - 60) == 401
        assert await status(aud="another") == 401
        assert await status(iss="https://another.example") == 401
        forged = token_of(rsa.generate_private_key(public_exponent=65_537, key_size=2_048), served.url)
        assert (await client.get("/portfolio/accounts", headers=bearer(forged))).status_code == 401
        none = jwt.encode({"sub": "ada"}, "", algorithm="none")
        assert (await client.get("/portfolio/accounts", headers=bearer(none))).status_code == 401


async def test_pages_of_other_origins_are_let_in_only_where_they_are_named(url: str) -> None:
    origin = {"Origin": "https://desk.example", "Host": "localhost"}
    async with serving(url, host="127.0.0.1") as client:
        assert "Access-Control-Allow-Origin" not in (await client.get("/health/live", headers=origin)).headers
    async with serving(url, host="127.0.0.1", cors_origins=frozenset({"https://desk.example"})) as client:
        answer = await client.get("/health/live", headers=origin)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://desk.example"


async def test_the_api_gives_its_other_rights_up(url: str) -> None:
    reader = Reader(url)
    try:
        async with reader.connection() as connection:
            await connection.execute("SET default_transaction_read_only = off")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("DELETE FROM access_keys")
    finally:
        await reader.close()


async def test_the_role_of_the_api_may_only_read(url: str) -> None:
    reader = url.replace("postgresql://portfolio@", "postgresql://portfolio_reader@")
    connection = await asyncpg.connect(reader)
    try:
        assert await connection.fetchval("SELECT count(*) FROM accounts") == 0
        for statement in ("DELETE FROM fills", "INSERT INTO access_keys (id) VALUES ('x')", "CREATE TABLE t (i int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
