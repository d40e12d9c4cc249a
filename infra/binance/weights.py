"""The documented request weight of everything that is read, and by whom the exchange counts it.

`/api` and the WebSocket API share one limit by address. Under `/sapi` each endpoint has a limit of its own, by address
(IP) or by account (UID). From Binance's rest-api.md, web-socket-api.md and wallet, convert, rebate and Simple Earn
documentation of July 2026.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

CONNECT: Final = 2
SUBSCRIBE: Final = 2
LOG_ON: Final = 2
PING: Final = 1
SUBSCRIPTIONS: Final = 2
ACCOUNT_STATUS: Final = 20
"""On the WebSocket API; the others are of REST."""


class WeightScope(StrEnum):
    """Which limit a request counts against, by the header that tells how much of it is used."""

    API = "X-MBX-USED-WEIGHT-1M"
    SAPI_ADDRESS = "X-SAPI-USED-IP-WEIGHT-1M"
    SAPI_ACCOUNT = "X-SAPI-USED-UID-WEIGHT-1M"


class Weight(NamedTuple):
    """What a request costs."""

    weight: int
    scope: WeightScope = WeightScope.API


_Params = Mapping[str, str]
_WEIGHTS: Final[dict[str, Weight | Callable[[_Params], Weight]]] = {
    "api/v3/ping": Weight(1),
    "api/v3/time": Weight(1),
    "api/v3/exchangeInfo": Weight(20),
    "api/v3/klines": Weight(2),
    "api/v3/ticker/price": lambda params: Weight(2 if "symbol" in params else 4),
    "api/v3/ticker/24hr": lambda params: Weight(2 if "symbol" in params else 80),
    "api/v3/account": Weight(20),
    "api/v3/myTrades": lambda params: Weight(5 if "orderId" in params else 20),
    "api/v3/order": Weight(4),
    "api/v3/openOrders": lambda params: Weight(6 if "symbol" in params else 80),
    "api/v3/allOrders": Weight(20),
    "api/v3/myPreventedMatches": lambda params: Weight(2 if "preventedMatchId" in params else 20),
    "api/v3/myAllocations": Weight(20),
    "sapi/v1/account/apiRestrictions": Weight(1, WeightScope.SAPI_ADDRESS),
    "sapi/v1/capital/deposit/hisrec": Weight(1, WeightScope.SAPI_ADDRESS),
    "sapi/v1/capital/withdraw/history": Weight(18_000, WeightScope.SAPI_ACCOUNT),
    "sapi/v1/asset/transfer": Weight(1, WeightScope.SAPI_ADDRESS),
    "sapi/v1/asset/dribblet": Weight(1, WeightScope.SAPI_ADDRESS),
    "sapi/v1/asset/assetDividend": Weight(10, WeightScope.SAPI_ADDRESS),
    "sapi/v1/convert/tradeFlow": Weight(3_000, WeightScope.SAPI_ACCOUNT),
    "sapi/v1/rebate/taxQuery": Weight(12_000, WeightScope.SAPI_ACCOUNT),
}
_SIMPLE_EARN: Final = "sapi/v1/simple-earn/"


def weight_of(path: str, params: _Params) -> Weight:
    """The weight of `GET /path`.

    Raises:
        KeyError: It is not listed here; nothing is sent whose weight is not known.
    """
    if path.startswith(_SIMPLE_EARN):
        return Weight(150, WeightScope.SAPI_ADDRESS)
    found = _WEIGHTS[path]
    return found if isinstance(found, Weight) else found(params)
