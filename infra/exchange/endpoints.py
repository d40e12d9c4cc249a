"""What an endpoint is: one handler, reached over REST and, where Binance has it, over the WebSocket API."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from infra.exchange.engine import Exchange
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.events import TimeUnit
from infra.exchange.ledger import Account
from infra.exchange.limits import OrderCounts
from infra.exchange.parameters import Parameters
from infra.exchange.security import AccountKey


class Call(NamedTuple):
    """A request that was let through.

    Attributes:
        unit: The unit of times in the answer.
        signed_in: The account, if it was signed.
        key: The key that signed.
        orders: What the accounts placed and was not filled.
    """

    exchange: Exchange
    parameters: Parameters
    unit: TimeUnit
    signed_in: Account | None
    key: AccountKey | None
    orders: OrderCounts

    @property
    def account(self) -> Account:
        """The account that signed."""
        if self.signed_in is None:
            raise ExchangeError(Refusal.BAD_KEY_FORMAT)
        return self.signed_in

    @property
    def symbol(self) -> str:
        """The mandatory symbol; an unknown or delisted one is refused with -1121."""
        return self.exchange.listed(self.parameters.symbol()).symbol


class WeightScope(StrEnum):
    """Which budget a request uses up; `/sapi` has one for each endpoint, by address or by account."""

    API = "X-MBX-USED-WEIGHT-1M"
    SAPI_ADDRESS = "X-SAPI-USED-IP-WEIGHT-1M"
    SAPI_ACCOUNT = "X-SAPI-USED-UID-WEIGHT-1M"


Weight = int | Callable[[Parameters], int]


class Endpoint(NamedTuple):
    """A handler and where it is found.

    Attributes:
        weight: The documented request weight.
        orders: How many orders it places, which are counted by account.
    """

    handler: Callable[[Call], object]
    method: str
    path: str
    weight: Weight
    websocket_method: str | None = None
    signed: bool = False
    scope: WeightScope = WeightScope.API
    orders: int = 0

    def weight_of(self, parameters: Parameters) -> int:
        """The weight of one request."""
        return self.weight if isinstance(self.weight, int) else self.weight(parameters)
