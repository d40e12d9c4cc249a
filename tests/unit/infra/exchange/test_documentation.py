"""`docs/exchange.md` names what the exchange has."""

import re
from pathlib import Path

import pytest

import infra.exchange
from infra.exchange.account_endpoints import ACCOUNT_ENDPOINTS
from infra.exchange.endpoints import Endpoint
from infra.exchange.market_endpoints import MARKET_ENDPOINTS
from infra.exchange.order_endpoints import ORDER_ENDPOINTS
from infra.exchange.order_list_endpoints import ORDER_LIST_ENDPOINTS
from infra.exchange.replacement_endpoints import REPLACEMENT_ENDPOINTS
from infra.exchange.sapi_endpoints import SAPI_ENDPOINTS

_ROOM = Path(infra.exchange.__file__).parent
_TEXT = (_ROOM.parents[1] / "docs" / "exchange.md").read_text("utf-8")


@pytest.mark.parametrize(
    "endpoint",
    [*MARKET_ENDPOINTS, *ACCOUNT_ENDPOINTS, *ORDER_ENDPOINTS, *ORDER_LIST_ENDPOINTS, *REPLACEMENT_ENDPOINTS],
    ids=lambda each: each.websocket_method,
)
def test_every_endpoint_is_documented(endpoint: Endpoint) -> None:
    assert endpoint.path.removeprefix("/api/v3/") in _TEXT
    assert f"`{endpoint.websocket_method}`" in _TEXT
    if isinstance(endpoint.weight, int):
        line = next(line for line in _TEXT.splitlines() if f"`{endpoint.websocket_method}`" in line)
        assert f" {endpoint.weight} " in line


def test_every_module_is_named() -> None:
    modules = {path.stem for path in _ROOM.glob("*.py")} - {"__init__", "decimals"}
    assert {module for module in modules if f"`{module}`" not in _TEXT} == set()


@pytest.mark.parametrize("endpoint", SAPI_ENDPOINTS, ids=lambda each: each.path)
def test_every_history_is_documented_with_its_weight(endpoint: Endpoint) -> None:
    path = f"`{endpoint.path.removeprefix('/sapi/v1/')}`"
    line = next(line for line in _TEXT.splitlines() if path in line)
    assert re.search(rf"[ (]{endpoint.weight:,}[ )]", line)
