"""Signatures and times of signed requests."""

import hashlib
import hmac

import pytest

from infra.exchange.errors import ExchangeError
from infra.exchange.parameters import Parameters
from infra.exchange.security import AccountKey, KeyRing, rest_payload, verify, websocket_payloads

# The example of Binance's "SIGNED Endpoint Examples", HMAC keys.
_OWNER = AccountKey(
    "main",
    "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
)
_QUERY = (
    "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
)
_SIGNATURE = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
_SENT_US = 1_499_827_319_559_000


def _check(payload: str, now_us: int, **parameters: str) -> None:
    verify(_OWNER, [payload], Parameters(parameters), now_us)


def test_the_documented_example_is_accepted_in_query_body_or_both_and_in_any_case() -> None:
    query, body = _QUERY[:40], _QUERY[40:]
    for payload in (
        rest_payload(f"{_QUERY}&signature={_SIGNATURE}", ""),
        rest_payload("", f"{_QUERY}&signature={_SIGNATURE}"),
        rest_payload(query, f"{body}&signature={_SIGNATURE}"),
    ):
        _check(payload, _SENT_US, timestamp="1499827319559", signature=_SIGNATURE.upper())


@pytest.mark.parametrize(
    ("now_us", "parameters", "code"),
    [
        (_SENT_US, {"signature": _SIGNATURE}, -1102),
        (_SENT_US, {"timestamp": "1499827319559"}, -1102),
        (_SENT_US, {"timestamp": "1499827319559", "signature": "0" * 64}, -1022),
        (_SENT_US, {"timestamp": "1499827319559", "signature": "ü"}, -1022),
        (_SENT_US + 5_000_001, {"timestamp": "1499827319559", "signature": _SIGNATURE}, -1021),
        (_SENT_US - 1_000_000, {"timestamp": "1499827319559", "signature": _SIGNATURE}, -1021),
        (_SENT_US, {"timestamp": "1499827319559", "signature": _SIGNATURE, "recvWindow": "60001"}, -1131),
        (_SENT_US + 101, {"timestamp": "1499827319559", "signature": _SIGNATURE, "recvWindow": "0.1"}, -1021),
    ],
)
def test_refusals(now_us: int, parameters: dict[str, str], code: int) -> None:
    with pytest.raises(ExchangeError) as refused:
        _check(_QUERY, now_us, **parameters)
    assert refused.value.refusal.code == code


def test_a_time_may_be_in_microseconds() -> None:
    payload = "timestamp=1499827319559000"
    signature = hmac.new(_OWNER.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    _check(payload, _SENT_US, timestamp="1499827319559000", signature=signature)


def test_the_websocket_api_signs_sorted_parameters() -> None:
    assert websocket_payloads({"b": "1 2", "a": "x", "signature": "s"}) == ("a=x&b=1 2", "a=x&b=1+2")


def test_keys() -> None:
    ring = KeyRing([_OWNER])
    assert ring.find(_OWNER.key).account == "main"
    for key, code in (("other", -2015), ("", -2014), (None, -2014)):
        with pytest.raises(ExchangeError) as refused:
            ring.find(key)
        assert refused.value.refusal.code == code


@pytest.mark.parametrize("text", ["", "a", "a:b", "a::c", "a:b:c:read:more"])
def test_a_malformed_account_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME:KEY:SECRET"):
        AccountKey.parse(text)


@pytest.mark.parametrize(
    ("text", "may_trade", "may_withdraw"),
    [
        ("a:b:c", True, False),
        ("a:b:c:read", False, False),
        ("a:b:c:trade", True, False),
        ("a:b:c:withdraw", True, True),
    ],
)
def test_what_a_key_may_do(text: str, may_trade: bool, may_withdraw: bool) -> None:
    assert AccountKey.parse(text) == AccountKey("a", "b", "c", may_trade, may_withdraw)


def test_a_permission_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="'d' is none of read, trade, withdraw"):
        AccountKey.parse("a:b:c:d")
