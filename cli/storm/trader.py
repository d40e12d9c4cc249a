"""What the accounts do while the storm blows: orders on all symbols, and whatever else moves assets."""

import random
from collections.abc import Sequence
from typing import Any

from cli.storm.exchange import Operator

BATCH = 8
"""Orders at once."""

_SPENT = {"USDT": (20, 400, 0), "BTC": (5, 60, 4), "ETH": (20, 90, 3), "BNB": (1, 6, 1)}
"""How much an order spends, by quote asset: least, most, and how many places to the right of the point."""
_REST_CHANCE = 0.25
_ORDERS_PER_FLOW = 60
_MORE = (
    *("SOLUSDT", "ADAUSDT", "XRPUSDT", "DOTUSDT", "LINKUSDT", "LTCUSDT", "AVAXUSDT", "ATOMUSDT", "UNIUSDT", "ETCUSDT"),
    *("XLMUSDT", "ALGOUSDT", "NEARUSDT", "FILUSDT", "AAVEUSDT", "MKRUSDT", "SANDUSDT", "MANAUSDT", "GRTUSDT"),
    *("EGLDUSDT", "SOLBTC", "LTCBTC", "LINKETH", "ADABNB", "USDCUSDT", "DOGEUSDT"),
)
_RECORDED = ("BTCUSDT", "ETHUSDT", "ETHBTC", "BNBUSDT")
SYMBOLS_MAX = len(_RECORDED) + len(_MORE)


def symbols_to_trade(count: int) -> list[str]:
    """The first symbols of a list that begins with the recorded ones, each with what it needs before it."""
    return [*_RECORDED, *_MORE][:count]


class Trader:
    """Trades for one account.

    Args:
        operator: Who carries it out.
        account: For whom.
        symbols: On which symbols.
        dice: Where chance comes from.

    Attributes:
        fills: How many there were at once.
    """

    def __init__(self, operator: Operator, account: str, symbols: Sequence[str], dice: random.Random) -> None:
        self.fills = 0
        self._operator = operator
        self._account = account
        self._symbols = symbols
        self._dice = dice
        self._at: list[tuple[str, str, str]] = []
        self._pending: list[tuple[int, str]] = []

    async def act(self) -> None:
        """Place some orders, and sometimes let assets move in another way."""
        orders = [self._order() for _ in range(BATCH)]
        for order, answer in zip(orders, await self._operator.order(self._account, orders), strict=True):
            fills: list[dict[str, Any]] = answer.get("fills", [])
            self.fills += len(fills)
            self._at += [(order["symbol"], fill["price"], fill["qty"]) for fill in fills[-1:]]
        self._at = self._at[-BATCH:]
        if self._dice.randrange(_ORDERS_PER_FLOW) < BATCH:
            await self._flow()

    def _order(self) -> dict[str, str]:
        side = self._dice.choice(("BUY", "SELL"))
        if self._at and self._dice.random() < _REST_CHANCE:
            # Where somebody traded just now: prices and quantities that fit the symbol.
            symbol, price, quantity = self._dice.choice(self._at)
            limit = {"type": "LIMIT", "timeInForce": "GTC", "price": price, "quantity": quantity}
            return {"symbol": symbol, "side": side, **limit}
        symbol = self._dice.choice(self._symbols)
        least, most, places = next(spent for quote, spent in _SPENT.items() if symbol.endswith(quote))
        amount = f"{self._dice.randint(least, most) / 10**places:.{places}f}"
        return {"symbol": symbol, "side": side, "type": "MARKET", "quoteOrderQty": amount}

    # -- what is no trade

    async def _flow(self) -> None:
        if self._pending and self._dice.random() < 0.5:  # noqa: PLR2004 - as likely as a new one
            operation_id, status = self._pending.pop()
            await self._operator.move("status", id=operation_id, status=status)
            return
        name, details = self._dice.choice(self._flows())
        operation = await self._operator.move(name, account=self._account, **details)
        match operation.get("kind"), operation.get("status"):
            case "deposit", "pending":
                self._pending.append((operation["id"], "completed"))
            case "withdrawal", "processing":
                self._pending.append((operation["id"], self._dice.choice(("completed", "rejected"))))

    def _flows(self) -> list[tuple[str, dict[str, Any]]]:
        cents = f"{self._dice.randint(1_000, 40_000) / 100:.2f}"
        lot = f"{self._dice.randint(1, 900) / 100_000:.5f}"
        return [
            ("deposit", {"asset": "USDT", "amount": cents}),
            ("deposit", {"asset": "BTC", "amount": lot, "status": "pending"}),
            ("withdraw", {"asset": "USDT", "amount": cents, "fee": "1"}),
            ("withdraw", {"asset": "ETH", "amount": lot, "fee": "0.0004", "status": "processing"}),
            ("transfer", {"asset": "USDT", "amount": cents, "type": "MAIN_UMFUTURE"}),
            ("transfer", {"asset": "USDT", "amount": cents, "type": "UMFUTURE_MAIN"}),
            ("convert", {"asset": "USDT", "amount": cents, "to_asset": "BTC"}),
            ("dust", {"assets": [self._dice.choice(("ETH", "BTC"))]}),
            ("airdrop", {"asset": "BNB", "amount": lot}),
            ("rebate", {"asset": "USDT", "amount": cents}),
            ("earn/subscribe", {"asset": "USDT", "amount": cents}),
            ("earn/redeem", {"asset": "USDT", "amount": cents}),
            ("earn/reward", {"asset": "USDT", "amount": cents}),
        ]
