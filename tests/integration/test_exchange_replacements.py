"""Orders that are cancelled and replaced at once, and all of a symbol cancelled, through python-binance."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from binance.exceptions import BinanceAPIException

from infra.exchange.app import ExchangeOptions, running_exchange
from tests.support.exchange_client import local_client, next_event, user_stream


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running_exchange(ExchangeOptions()) as address:
        yield address


@pytest.fixture
async def client(url: str) -> AsyncIterator[Any]:
    async with local_client(url) as connected:
        yield connected


def _limit(price: str, **more: object) -> dict[str, object]:
    order = {"symbol": "BNBUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1"}
    return order | {"price": price} | more


async def _replace(
    client: Any, order: dict[str, object], cancelled_id: int, mode: str = "STOP_ON_FAILURE"
) -> dict[str, Any]:
    parameters = order | {"cancelReplaceMode": mode, "cancelOrderId": cancelled_id}
    answer: dict[str, Any] = await client._post("order/cancelReplace", True, data=parameters)
    return answer


async def test_an_order_is_replaced_with_the_events_of_both(url: str, client: Any) -> None:
    first = await client.create_order(**_limit("400"))
    async with user_stream(url) as socket:
        answer = await _replace(client, _limit("401"), first["orderId"])
        events = [await next_event(socket) for _ in range(4)]
    assert (answer["cancelResult"], answer["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert answer["cancelResponse"]["orderId"] == first["orderId"]
    assert [event.get("x", event["e"]) for event in events] == [
        "CANCELED",
        "outboundAccountPosition",
        "NEW",
        "outboundAccountPosition",
    ]
    assert [each["price"] for each in await client.get_open_orders()] == ["401.00000000"]


@pytest.mark.parametrize(
    ("mode", "cancelled_id", "price", "code", "status", "results", "left"),
    [
        ("STOP_ON_FAILURE", 99, "401", -2022, 400, ("FAILURE", "NOT_ATTEMPTED"), ["400"]),
        ("ALLOW_FAILURE", 99, "401", -2021, 409, ("FAILURE", "SUCCESS"), ["400", "401"]),
        ("STOP_ON_FAILURE", 1, "600", -2021, 409, ("SUCCESS", "FAILURE"), []),
        ("ALLOW_FAILURE", 99, "600", -2022, 400, ("FAILURE", "FAILURE"), ["400"]),
    ],
)
async def test_halves_that_fail_are_told_apart(
    client: Any,
    mode: str,
    cancelled_id: int,
    price: str,
    code: int,
    status: int,
    results: tuple[str, str],
    left: list[str],
) -> None:
    assert (await client.create_order(**_limit("400")))["orderId"] == 1
    order = _limit(price) | {"type": "LIMIT_MAKER", "timeInForce": None}  # at 600 it would take
    order = {name: value for name, value in order.items() if value is not None}
    with pytest.raises(BinanceAPIException) as refused:
        await _replace(client, order, cancelled_id, mode)
    assert (refused.value.code, refused.value.status_code) == (code, status)
    data = (await refused.value.response.json())["data"]
    assert (data["cancelResult"], data["newOrderResult"]) == results
    assert [each["price"] for each in await client.get_open_orders()] == [f"{each}.00000000" for each in left]


async def test_a_filter_is_judged_before_anything_is_cancelled(client: Any) -> None:
    await client.create_order(**_limit("400"))
    with pytest.raises(BinanceAPIException, match="PRICE_FILTER"):
        await _replace(client, _limit("400.001"), 1)
    assert len(await client.get_open_orders()) == 1


async def test_all_orders_of_a_symbol_are_cancelled(client: Any) -> None:
    for price in ("400", "401"):
        await client.create_order(**_limit(price))
    await client.create_order(**_limit("0.04", symbol="ETHBTC", quantity="0.1"))
    cancelled = await client._delete("openOrders", True, data={"symbol": "BNBUSDT"})
    assert [(each["orderId"], each["status"]) for each in cancelled] == [(1, "CANCELED"), (2, "CANCELED")]
    assert [each["symbol"] for each in await client.get_open_orders()] == ["ETHBTC"]
    with pytest.raises(BinanceAPIException) as refused:
        await client._delete("openOrders", True, data={"symbol": "BNBUSDT"})
    assert refused.value.code == -2011
