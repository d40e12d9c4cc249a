"""Commissions: a rate of what is received, or less of it in BNB.

An account that pays in BNB pays the standard rate less the discount, converted at the price of that moment; when it
has too little BNB for a trade, that trade is charged in the received asset at the full rate. Amounts are cut to eight
places. (Binance, "Commission Rates FAQ".)
"""

from decimal import Decimal
from typing import NamedTuple

from infra.exchange.decimals import truncate
from infra.exchange.ledger import Account, Movement

BNB = "BNB"


class Commission(NamedTuple):
    """What a trade costs."""

    amount: Decimal
    asset: str


class FeeSchedule(NamedTuple):
    """Rates of commission, as fractions of the traded amount."""

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")
    discount: Decimal = Decimal("0.25")
    pay_in_bnb: bool = True

    def commission(self, account: Account, movement: Movement, value_in_bnb: Decimal, *, is_maker: bool) -> Commission:
        """The commission of a trade.

        Args:
            account: Who pays.
            movement: What the trade moves.
            value_in_bnb: The worth of the trade, in BNB, at this moment.
            is_maker: Whether the order rested on the book.
        """
        rate = self.maker if is_maker else self.taker
        if self.pay_in_bnb:
            amount = truncate(value_in_bnb * rate * (1 - self.discount))
            if account.free_after(BNB, movement) >= amount:
                return Commission(amount, BNB)
        return Commission(truncate(movement.received * rate), movement.received_asset)
