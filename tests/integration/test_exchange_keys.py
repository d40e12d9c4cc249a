"""Keys of every kind: RSA and Ed25519 by python-binance, and sessions that are logged on."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from binance.exceptions import BinanceAPIException
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import eddsa
from websockets.asyncio.client import connect

from infra.exchange.app import ExchangeOptions, running_exchange
from infra.exchange.security import AccountKey
from tests.support.exchange_client import ask, local_client, next_event, now_ms, signed

_ED25519 = ECC.generate(curve="ed25519")
_RSA = RSA.generate(2048)
_STRANGER = ECC.generate(curve="ed25519")


def _text(pem: Any) -> str:
    return str(pem if isinstance(pem, str) else pem.decode())


_PRIVATE = {"ed-key": _text(_ED25519.export_key(format="PEM")), "rsa-key": _text(_RSA.export_key(pkcs=8))}


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    public = {"ed-key": _ED25519.public_key().export_key(format="PEM"), "rsa-key": _RSA.public_key().export_key()}
    keys = [AccountKey("demo", "demo-key", "demo-secret")]
    for name, pem in public.items():
        path = tmp_path / f"{name}.pem"
        path.write_text(_text(pem) + "\n")
        keys.append(AccountKey.parse(f"demo:{name}:{path}"))
    async with running_exchange(ExchangeOptions(accounts=tuple(keys))) as address:
        yield address


def _signed(**parameters: object) -> dict[str, object]:
    parameters.setdefault("timestamp", now_ms())
    payload = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
    signature = b64encode(eddsa.new(_ED25519, "rfc8032").sign(payload.encode())).decode()
    return parameters | {"signature": signature}


@pytest.mark.parametrize("key", ["ed-key", "rsa-key"])
async def test_python_binance_signs_with_a_private_key(url: str, tmp_path: Path, key: str) -> None:
    (tmp_path / "private.pem").write_text(_PRIVATE[key])
    async with local_client(url, key, "", private_key=tmp_path / "private.pem") as client:
        for _ in range(5):  # signatures have different characters each time, some of which a URL must not have
            order = await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
            assert order["status"] == "FILLED"
        assert len(await client.get_my_trades(symbol="BTCUSDT")) == 5


@pytest.mark.parametrize("key", ["ed-key", "rsa-key"])
async def test_a_stranger_is_refused(url: str, tmp_path: Path, key: str) -> None:
    (tmp_path / "private.pem").write_text(_text(_STRANGER.export_key(format="PEM")))
    async with local_client(url, key, "", private_key=tmp_path / "private.pem") as client:
        with pytest.raises(BinanceAPIException) as refused:
            await client.get_account()
        assert refused.value.code == -1022
    async with local_client(url, key, "demo-secret") as client:
        with pytest.raises(BinanceAPIException) as refused:
            await client.get_account()
        assert refused.value.code == -1022


async def test_a_session_is_logged_on(url: str) -> None:
    async with connect(f"{url.replace('http', 'ws')}/ws-api/v3") as socket:
        before = (await ask(socket, "session.status"))["result"]
        assert (before["apiKey"], before["authorizedSince"], before["userDataStream"]) == (None, None, False)
        assert (await ask(socket, "userDataStream.subscribe"))["error"]["code"] == -1002
        assert (await ask(socket, "account.status", timestamp=now_ms()))["error"]["code"] == -2014

        logged_on = (await ask(socket, "session.logon", **_signed(apiKey="ed-key")))["result"]
        assert logged_on["apiKey"] == "ed-key"
        assert before["connectedSince"] == logged_on["connectedSince"] <= logged_on["authorizedSince"]
        assert (await ask(socket, "account.status", timestamp=now_ms()))["status"] == 200
        assert (await ask(socket, "account.status", timestamp=now_ms() - 9000))["error"]["code"] == -1021
        assert (await ask(socket, "account.status"))["error"]["code"] == -1102

        assert (await ask(socket, "userDataStream.subscribe"))["result"] == {"subscriptionId": 0}
        assert (await ask(socket, "userDataStream.subscribe"))["error"]["code"] == -2035
        order: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
        await socket.send(json.dumps({"id": 1, "method": "order.place", "params": order | {"timestamp": now_ms()}}))
        assert (await next_event(socket))["x"] == "NEW"

        assert (await ask(socket, "session.status"))["result"]["userDataStream"] is True
        await socket.send(json.dumps({"id": 2, "method": "session.logout"}))
        while (await next_event(socket))["e"] != "eventStreamTerminated":
            pass
        assert (await ask(socket, "session.status"))["result"]["apiKey"] is None
        assert (await ask(socket, "account.status", timestamp=now_ms()))["error"]["code"] == -2014


async def test_a_logout_leaves_other_subscriptions(url: str) -> None:
    async with connect(f"{url.replace('http', 'ws')}/ws-api/v3") as socket:
        await ask(socket, "session.logon", **_signed(apiKey="ed-key"))
        assert (await ask(socket, "userDataStream.subscribe.signature", **signed(apiKey="demo-key")))["status"] == 200
        assert (await ask(socket, "session.logout"))["result"]["userDataStream"] is True


@pytest.mark.parametrize(("key", "kind"), [("demo-key", "HMAC"), ("rsa-key", "RSA")])
async def test_only_ed25519_keys_log_on(url: str, key: str, kind: str) -> None:
    async with connect(f"{url.replace('http', 'ws')}/ws-api/v3") as socket:
        refused = await ask(socket, "session.logon", **signed(apiKey=key))
        assert refused["error"] == {"code": -4056, "msg": f"{kind} API key is not supported."}


def test_a_file_that_is_no_public_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private.pem").write_text(_PRIVATE["ed-key"])
    with pytest.raises(ValueError, match="no public key"):
        AccountKey.parse(f"demo:key:{tmp_path / 'private.pem'}")
    with pytest.raises(ValueError, match="cannot be read"):
        AccountKey.parse(f"demo:key:{tmp_path / 'missing.pem'}")
