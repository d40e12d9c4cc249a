"""The demo trader: a bot that keeps an account of a simulated exchange busy.

It trades through python-binance's own client, unchanged but for its base address, so what it does is what any bot
does. It buys and sells at the market, rests limit orders and cancels them, trades ETHBTC, pays fees in BNB until BNB
runs out, and now and then deposits or withdraws. Its exposure leans back to a target, so it can go on for days.

It never trades on a real exchange: the address must answer as a simulated one before the first request that is
signed, and again after every loss of the connection.
"""

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from aiohttp import ClientError
from binance import AsyncClient
from binance.exceptions import BinanceAPIException

from infra.exchange.decimals import ZERO, ceil_to_step, floor_to_step, plain
from infra.exchange.operator_api import PRODUCT
from infra.exchange.symbols import SymbolRules, symbol_rules

_logger = logging.getLogger(__name__)

_REAL_HOSTS = ("binance.com", "binance.us", "binance.vision", "binance.me")
_ACTION_EVERY_S = 2.0
_SHORTEST_PAUSE_S = 0.1
_BALANCES_EVERY_S = 1.5
_LONGEST_BACKOFF_S = 15.0
_TARGET_SHARES = {"BTC": Decimal("0.35"), "ETH": Decimal("0.25")}
_LEAST_NOTIONAL_USDT = 20
_MOST_NOTIONAL_USDT = 900
_RESTING_ORDERS = 6
_LITTLE_BNB = Decimal("0.02")
_BNB_TOP_UP = Decimal("0.3")
_REFUSED_STATUS = 400
_UNKNOWN_ORDER = -2011
_EMPTIED_BNB_TOP_UP_CHANCE = 0.15


class NotSimulatedError(Exception):
    """The address is not that of a simulated exchange."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """How the demo trades.

    Attributes:
        url: Base address of the simulated exchange.
        account: Name of the account there, for deposits and withdrawals.
        key: API key.
        secret: Its secret.
        seed: Makes the sequence of choices repeatable.
        speed: 1 acts about every two seconds, 10 ten times as often.
    """

    url: str
    account: str = "demo"
    key: str = "demo-key"
    secret: str = field(default="demo-secret", repr=False)
    seed: int = 0
    speed: float = 1.0


class _RestingOrder(NamedTuple):
    symbol: str
    order_id: int


async def ensure_simulated(url: str) -> None:
    """Make sure that an address is a simulated exchange.

    Raises:
        NotSimulatedError: It is not, or it is a real one.
        httpx.TransportError: Nothing answers.
    """
    host = urlsplit(url).hostname or ""
    refusal = NotSimulatedError(f"{url} is not a simulated exchange: start `portfolio exchange` and give its address")
    if any(host == real or host.endswith(f".{real}") for real in _REAL_HOSTS):
        raise refusal
    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        answer = await client.get("/operator/")
    try:
        product = answer.json()["product"]
    except (ValueError, KeyError, TypeError):
        raise refusal from None
    if product != PRODUCT:
        raise refusal


async def run_demo(options: DemoOptions) -> None:
    """Trade until cancelled, through restarts of the exchange.

    Raises:
        NotSimulatedError: The address is not that of a simulated exchange.
    """
    choices = random.Random(options.seed)  # noqa: S311 - a repeatable demo, not cryptography
    failures = 0
    while True:
        try:
            await ensure_simulated(options.url)
            async with httpx.AsyncClient(base_url=options.url, timeout=5) as operator:
                client = await _connect(options)
                try:
                    trader = DemoTrader(client, operator, options, choices)
                    await trader.start()
                    failures = 0
                    await trader.run()
                finally:
                    await client.close_connection()
        except (ClientError, httpx.HTTPError, TimeoutError, OSError, BinanceAPIException) as error:
            failures += 1
            pause_s = min(_LONGEST_BACKOFF_S, 0.5 * 2**failures) * choices.uniform(0.5, 1)
            _logger.warning("the exchange does not answer (%r); trying again in %.1f s", error, pause_s)
            await asyncio.sleep(pause_s)


async def _connect(options: DemoOptions) -> AsyncClient:
    class SimulatedClient(AsyncClient):  # type: ignore[misc] # python-binance has no types
        API_URL = f"{options.url.rstrip('/')}/api"

    return await SimulatedClient.create(options.key, options.secret)


class DemoTrader:
    """One connection's worth of trading.

    Args:
        client: A connected python-binance client.
        operator: A client of the operator API.
        options: How to trade.
        choices: Where chance comes from.
    """

    def __init__(
        self, client: AsyncClient, operator: httpx.AsyncClient, options: DemoOptions, choices: random.Random
    ) -> None:
        self._client = client
        self._operator = operator
        self._options = options
        self._choices = choices
        self._rules: dict[str, SymbolRules] = {}
        self._books: dict[str, dict[str, Decimal]] = {}
        self._free: dict[str, Decimal] = {}
        self._total: dict[str, Decimal] = {}
        self._resting: deque[_RestingOrder] = deque()
        self._balances_at_s = -math.inf
        self._pause_s = max(_ACTION_EVERY_S / options.speed, _SHORTEST_PAUSE_S)
        self._actions: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (40, self._trade_at_market),
            (30, self._rest_at_touch),
            (10, self._rest_away),
            (10, self._cancel_oldest),
            (6, self._trade_cross),
            (2, self._deposit_or_withdraw),
            (2, self._sell_all_bnb),
        ]

    async def start(self) -> None:
        """Read the symbols and the orders that an earlier run left open."""
        info = await self._client.get_exchange_info()
        self._rules = {entry["symbol"]: symbol_rules(entry) for entry in info["symbols"]}
        left_open = await self._client.get_open_orders()
        self._resting = deque(_RestingOrder(each["symbol"], each["orderId"]) for each in left_open)

    async def run(self) -> None:
        """Act for ever; an order that the exchange refuses is skipped."""
        while True:
            try:
                await self.act()
            except BinanceAPIException as error:
                if error.status_code != _REFUSED_STATUS:
                    raise
                _logger.info("refused: %s", error)
            await asyncio.sleep(self._pause_s * self._choices.uniform(0.5, 1.5))

    async def act(self) -> None:
        """Look at prices and balances, then do one thing."""
        await self._look()
        if self._free["BNB"] < _LITTLE_BNB and self._choices.random() < _EMPTIED_BNB_TOP_UP_CHANCE:
            await self._order("BNBUSDT", "BUY", type="MARKET", quantity=plain(_BNB_TOP_UP))
            return
        if len(self._resting) > _RESTING_ORDERS:
            await self._cancel_oldest()
            return
        weights, actions = zip(*self._actions, strict=True)
        await self._choices.choices(actions, weights)[0]()

    # -- what to do

    async def _trade_at_market(self) -> None:
        symbol = self._choices.choices(("BTCUSDT", "ETHUSDT"), (6, 4))[0]
        side, notional = self._side(self._rules[symbol].base), self._notional()
        if side == "BUY" and self._choices.random() < 0.5:  # noqa: PLR2004 - half by amount, half by quantity
            await self._order(symbol, side, type="MARKET", quoteOrderQty=plain(notional))
        else:
            await self._order(symbol, side, type="MARKET", quantity=self._quantity(symbol, side, notional))

    async def _rest_at_touch(self) -> None:
        """A limit order at the best price of its own side: small trades fill it bit by bit."""
        symbol = self._choices.choice(("BTCUSDT", "ETHUSDT"))
        side = self._side(self._rules[symbol].base)
        price = self._books[symbol]["bidPrice" if side == "BUY" else "askPrice"]
        await self._limit(symbol, side, price, self._notional(), order_type="LIMIT")

    async def _rest_away(self) -> None:
        """A post-only order a little away from the market, mostly to be cancelled."""
        symbol = self._choices.choice(("BTCUSDT", "ETHUSDT"))
        side = self._side(self._rules[symbol].base)
        away = Decimal(self._choices.randint(5, 40)) / 100_000
        tick = self._rules[symbol].tick
        if side == "BUY":
            price = floor_to_step(self._books[symbol]["bidPrice"] * (1 - away), tick)
        else:
            price = ceil_to_step(self._books[symbol]["askPrice"] * (1 + away), tick)
        await self._limit(symbol, side, price, self._notional(), order_type="LIMIT_MAKER")

    async def _cancel_oldest(self) -> None:
        while self._resting:
            oldest = self._resting.popleft()
            try:
                await self._client.cancel_order(symbol=oldest.symbol, orderId=oldest.order_id)
            except BinanceAPIException as error:
                if error.code != _UNKNOWN_ORDER:
                    raise
                _logger.info("order %d on %s was filled meanwhile", oldest.order_id, oldest.symbol)
            else:
                _logger.info("cancelled order %d on %s", oldest.order_id, oldest.symbol)
                return

    async def _trade_cross(self) -> None:
        side = self._side("ETH")
        quantity = self._quantity("ETHBTC", side, self._notional())
        await self._order("ETHBTC", side, type="MARKET", quantity=quantity)

    async def _sell_all_bnb(self) -> None:
        """Leave too little BNB for fees: until it is bought again, they are paid in the received asset."""
        rules = self._rules["BNBUSDT"]
        quantity = floor_to_step(self._free["BNB"], rules.step)
        if quantity * self._books["BNBUSDT"]["bidPrice"] >= rules.minimum_notional:
            await self._order("BNBUSDT", "SELL", type="MARKET", quantity=plain(quantity))

    async def _deposit_or_withdraw(self) -> None:
        path = self._choices.choice(("/operator/deposit", "/operator/withdraw"))
        asset, amount = self._choices.choice((("USDT", "250"), ("USDT", "100.5"), ("BTC", "0.002"), ("ETH", "0.05")))
        movement = {"account": self._options.account, "asset": asset, "amount": amount}
        answer = await self._operator.post(path, json=movement)
        _logger.info("%s %s %s: %d", path, amount, asset, answer.status_code)

    # -- how to do it

    async def _look(self) -> None:
        """Ask for prices, and for balances when those known are old: they weigh 20, and 6,000 a minute is the limit."""
        if time.monotonic() - self._balances_at_s >= _BALANCES_EVERY_S:
            await self._read_balances()
        self._books = {
            each["symbol"]: {name: Decimal(value) for name, value in each.items() if name != "symbol"}
            for each in await self._client.get_orderbook_tickers()
        }

    async def _read_balances(self) -> None:
        account = await self._client.get_account()
        self._balances_at_s = time.monotonic()
        self._free = {each["asset"]: Decimal(each["free"]) for each in account["balances"]}
        self._total = {
            each["asset"]: self._free[each["asset"]] + Decimal(each["locked"]) for each in account["balances"]
        }

    def _price_in_usdt(self, asset: str) -> Decimal:
        return Decimal(1) if asset == "USDT" else self._books[f"{asset}USDT"]["bidPrice"]

    def _side(self, base: str) -> str:
        """Buy or sell by chance, leaning towards the asset's target share of the equity."""
        equity = sum((amount * self._price_in_usdt(asset) for asset, amount in self._total.items()), ZERO)
        share = self._total[base] * self._price_in_usdt(base) / equity
        chance_to_buy = 0.5 + 2 * float(_TARGET_SHARES[base] - share)
        return "BUY" if self._choices.random() < chance_to_buy else "SELL"

    def _notional(self) -> Decimal:
        return Decimal(self._choices.randint(_LEAST_NOTIONAL_USDT, _MOST_NOTIONAL_USDT))

    def _quantity(self, symbol: str, side: str, notional: Decimal) -> str:
        """A quantity worth about `notional` USDT; the exchange refuses what the account cannot pay."""
        rules = self._rules[symbol]
        quantity = notional / self._price_in_usdt(rules.base)
        if side == "SELL":
            quantity = min(quantity, self._free[rules.base])
        return plain(max(floor_to_step(quantity, rules.step), rules.minimum_quantity))

    async def _limit(self, symbol: str, side: str, price: Decimal, notional: Decimal, *, order_type: str) -> None:
        parameters = {"price": plain(price), "quantity": self._quantity(symbol, side, notional)}
        if order_type == "LIMIT":
            parameters["timeInForce"] = "GTC"
        order = await self._order(symbol, side, type=order_type, **parameters)
        if order.get("status", "NEW") != "FILLED":
            self._resting.append(_RestingOrder(symbol, order["orderId"]))

    async def _order(self, symbol: str, side: str, **parameters: str) -> dict[str, Any]:
        order: dict[str, Any] = await self._client.create_order(symbol=symbol, side=side, **parameters)
        _logger.info("%s %s %s: %s", side, symbol, parameters, order.get("status", "NEW"))
        return order
