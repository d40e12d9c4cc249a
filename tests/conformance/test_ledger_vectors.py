"""The ledger against the numbers that other systems' tests expect.

Every vector of the kinds `position` and `fees` has a check below, but for those about lots, which are next door. Most
numbers are equal as they stand. Where a convention differs from ours, the check derives the number under ours and
its docstring says why; what decides is cash: a round trip gains what the wallet gained.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from portfolio import (
    Book,
    Fill,
    Flow,
    FlowKind,
    Outcome,
    Position,
    Side,
    amount,
    fold,
    new_book,
    value_book,
)
from tests.support.ledger import START_US, check_invariants

Vector: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[Vector], None]

VECTORS: dict[str, Vector] = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
    if vector["kind"] in {"position", "fees"}
}

LOTS = {"rk-fifo-5", "rk-fifo-oversell", "rk-fifo-reduce", "rk-hifo-6", "rk-hifo-oversell", "rk-missing-none"}
"""In `test_lots_vectors.py`."""

CHECKS: dict[str, Check] = {}

FUNDS = Decimal(10_000_000)


def check(*identifiers: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        CHECKS.update(dict.fromkeys(identifiers, function))
        return function

    return register


class Account:
    """A funded account to which the fills of a vector happen, one by one."""

    def __init__(self, base: str, quote: str, *, reporting: str = "", rates: dict[str, str] | None = None) -> None:
        self.base, self.quote = base, quote
        self.rates = {asset: amount(rate) for asset, rate in (rates or {}).items()}
        self.book = new_book("main", reporting or quote, ())
        self.outcomes: list[Outcome] = []
        if not reporting:
            self.deposit(quote, FUNDS)

    def deposit(self, asset: str, quantity: Decimal, rate: str = "1") -> None:
        event = Flow(
            id=asset,
            asset=asset,
            quantity=quantity,
            kind=FlowKind.DEPOSIT,
            time_us=START_US,
            rates={asset: amount(rate)},
        )
        self.book = fold(self.book, [event]).book

    def trade(self, side: str, quantity: str, price: str, **details: Any) -> None:
        number = len(self.outcomes) + 1
        event = Fill(
            symbol=self.base + self.quote,
            base=self.base,
            quote=self.quote,
            side=Side(side.upper()),
            quantity=amount(quantity),
            price=amount(price),
            trade_id=number,
            order_id=number,
            time_us=START_US + number,
            rates=self.rates,
            **details,
        )
        outcome = fold(self.book, [event])
        check_invariants(outcome.book)
        self.book = outcome.book
        self.outcomes.append(outcome)

    @property
    def books(self) -> list[Book]:
        return [outcome.book for outcome in self.outcomes]

    @property
    def cash(self) -> Decimal:
        """What the wallet has more of the quote than at the start."""
        return self.book.holdings[self.quote].quantity - FUNDS

    @property
    def quantity(self) -> Decimal:
        return quantity_of(self.book, self.base)

    @property
    def position(self) -> Position:
        position = self.book.holdings[self.base].position
        assert position is not None
        return position

    @property
    def closed(self) -> Position:
        return [position for outcome in self.outcomes for item in outcome.booked for position in item.closed][-1]

    def unrealized(self, mark: str) -> Decimal:
        return value_book(self.book, {self.base: amount(mark)}).unrealized


def quantity_of(book: Book, asset: str) -> Decimal:
    return book.holdings[asset].quantity if asset in book.holdings else Decimal(0)


def entry_price(book: Book, asset: str) -> Decimal:
    holding = book.holdings[asset]
    assert holding.position is not None
    price = holding.position.entry_price(holding.cost)
    assert price is not None
    return price


def played(vector: Vector, *, fee_rate: str = "0", **details: Any) -> Account:
    """The account after the vector's fills; a fee rate charges each fill in the quote, as an exchange does."""
    words = dict(word.split("=") for word in vector["input"].get("instrument", "").split() if "=" in word)
    name = vector["input"].get("instrument", "SHARECHF").split()[0].replace("-", "")
    base, quote = words.get("base", name[:-3]), words.get("quote", name[-3:])
    if "base" not in words and name.endswith("USDT"):
        base, quote = name.removesuffix("USDT"), "USDT"
    fills = vector["input"]["fills"]
    quote = next(
        (fill["fee_asset"] for fill in fills if "instrument" not in vector["input"] and "fee_asset" in fill), quote
    )
    account = Account(base, quote, **details)
    for fill in fills:
        fee = amount(fill["fee"]) + amount(fee_rate) * amount(fill["qty"]) * amount(fill["price"])
        fee_asset = fill.get("fee_asset", "QUOTE")
        paid_in = quote if fee_asset == "QUOTE" else fee_asset
        account.trade(fill["side"], fill["qty"], fill["price"], fee=fee, fee_asset=paid_in)
    return account


def close(vector: Vector, mine: Decimal, theirs: object) -> None:
    """Equal within the source's own rounding."""
    assert abs(mine - Decimal(str(theirs))) <= Decimal(str(vector.get("tolerance", 0))), (mine, theirs)


@check("nt-roundtrip")
def roundtrip(vector: Vector) -> None:
    account, expected = played(vector), vector["expected"]
    closed = account.closed
    assert account.quantity == Decimal(expected["qty"])
    close(vector, account.book.realized, expected["realized"])
    assert account.cash == account.book.realized == closed.realized == Decimal(12)
    assert (closed.entry_price(), closed.exit_price) == (Decimal(expected["avg_open"]), Decimal(expected["avg_close"]))
    assert account.unrealized(vector["input"]["mark"]) == Decimal(expected["unrealized"])
    assert account.book.fees_by_asset == {asset: Decimal(fee) for asset, fee in expected["commissions"].items()}


@check("nt-tt-example")
def steps_of_an_average(vector: Vector) -> None:
    account = played(vector)
    for book, step in zip(account.books, vector["expected"]["steps"], strict=True):
        if step:
            assert quantity_of(book, "ETH") == Decimal(step["qty"])
            close(vector, book.realized, step["realized"])
            close(vector, entry_price(book, "ETH"), step["avg_open"])


@check("nt-close-reopen")
def reopened(vector: Vector) -> None:
    """Their realized is the second position's alone, as is our position's; the account keeps the 12 of the first."""
    account, expected = played(vector), vector["expected"]
    assert account.quantity == Decimal(expected["qty"])
    assert entry_price(account.book, "AUD") == Decimal(expected["avg_open"])
    assert account.position.realized == Decimal(expected["realized"])
    assert account.book.realized == Decimal(12)
    assert account.unrealized(vector["input"]["mark"]) == Decimal(expected["unrealized"])
    assert account.position.realized + account.unrealized(vector["input"]["mark"]) == Decimal(expected["total"])


@check("nt-mark-loss")
def mark_loss(vector: Vector) -> None:
    account, expected = played(vector), vector["expected"]
    value = value_book(account.book, {"BTC": amount(vector["input"]["mark"])})
    assert (value.realized, value.unrealized) == (Decimal(expected["realized"]), Decimal(expected["unrealized"]))
    assert value.total_pnl == Decimal(expected["total"])


@check("nt-fee-sum", "nt-fee-sum-fx")
def fee_sums(vector: Vector) -> None:
    account = played(vector)
    assert account.book.fees_by_asset == {
        asset: Decimal(fee) for asset, fee in vector["expected"]["commissions"].items()
    }
    assert account.book.fees == sum(account.book.fees_by_asset.values())


@check("nt-rs-multi-ccy-fees")
def fees_of_many_assets(vector: Vector) -> None:
    """The vector gives no rates, and only fee totals; at 1 for USDT and 50000 for BTC the fees come to 8.5."""
    account = played(vector, rates={"USDT": "1", "BTC": "50000"})
    expected = vector["expected"]["commissions"]
    assert list(account.book.fees_by_asset) == list(expected)
    assert account.book.fees_by_asset == {asset: Decimal(fee) for asset, fee in expected.items()}
    assert account.book.fees == Decimal("1.5") + 2 + Decimal("0.0001") * 50000


@check("nt-avg-3", "nt-rs-fold-partial-close")
def average_entry(vector: Vector) -> None:
    account, expected = played(vector), vector["expected"]
    assert account.quantity == Decimal(expected["qty"])
    close(vector, entry_price(account.book, "AUD"), expected["avg_open"])


@check("nt-partial-closes")
def partial_closes(vector: Vector) -> None:
    account = played(vector)
    assert account.quantity == Decimal(vector["expected"]["qty"])
    assert account.closed.peak_quantity == Decimal(vector["expected"]["peak_qty"])


@check("nt-basefee-open-quotefee-close")
def base_fee_then_quote_fee(vector: Vector) -> None:
    account = played(vector)
    for book, step in zip(account.books, vector["expected"]["steps"], strict=True):
        assert quantity_of(book, "BTC") == Decimal(step["qty"])
    assert account.cash == account.book.realized


@check("nt-basefee-roundtrip")
def base_fee_roundtrip(vector: Vector) -> None:
    """Theirs is 97.9: the 0.001 ETH paid as a fee leaves the quantity and is never booked as a loss. Ours expenses
    it when it is paid: 0.999 x 2100 - 2 received, 1 x 2000 spent, which is 95.9, which is what the wallet gained."""
    account = played(vector)
    derived = Decimal("0.999") * 2100 - 2 - 2000
    assert derived == Decimal(vector["expected"]["cash_truth_derived"])
    assert account.cash == account.book.realized == account.closed.realized == derived
    assert account.book.realized == Decimal(vector["expected"]["realized"]) - Decimal("0.001") * 2000
    assert account.quantity == Decimal(vector["expected"]["qty"])


@check("nt-basefee-accumulate")
def base_fees_accumulate(vector: Vector) -> None:
    account = played(vector)
    assert account.quantity == Decimal(vector["expected"]["qty"])
    assert account.book.fees_by_asset == {"ETH": Decimal(vector["expected"]["commissions"]["ETH"])}


@check("nt-rs-quotefee-no-adjust")
def quote_fee_leaves_the_quantity(vector: Vector) -> None:
    account = played(vector)
    assert account.quantity == Decimal(vector["expected"]["qty"])
    assert account.cash == Decimal(-50_050)


@check("nt-rs-roundtrip-same-price")
def roundtrip_at_one_price(vector: Vector) -> None:
    account = played(vector)
    assert account.book.realized == account.cash == Decimal(vector["expected"]["realized"])
    assert account.quantity == Decimal(vector["expected"]["qty"])


@check("nt-cash-legs-adabtc")
def legs_of_a_cross(vector: Vector) -> None:
    account = played(vector)
    (entry,) = account.outcomes[0].booked[0].entries
    moved = {posting.asset: posting.quantity for posting in entry.postings}
    (expected,) = vector["expected"]["steps_delta"]
    assert moved == {asset: Decimal(quantity) for asset, quantity in expected.items()}


@check("nt-convert-eur")
def books_in_euro(vector: Vector) -> None:
    rate = vector["input"]["fx"]["USDT/EUR"]
    account = played(vector, reporting=vector["input"]["base_currency"], rates={"USDT": rate})
    mark = amount(vector["input"]["mark"]) * amount(rate)
    value = value_book(account.book, {"BTC": mark})
    assert value.unrealized == Decimal(vector["expected"]["unrealized_EUR"])
    assert value.equity == Decimal(vector["expected"]["exposure_EUR"])


@check("nt-mark-value")
def mark_value(vector: Vector) -> None:
    account = played(vector)
    lines = {line.asset: line for line in value_book(account.book, {"AUD": amount(vector["input"]["bid"])}).holdings}
    assert lines["AUD"].value == Decimal(vector["expected"]["mark_value_USD"])


@check("ft-dca-1-fee", "ft-dca-2")
def average_down_with_fees_at_exit(vector: Vector) -> None:
    """Theirs charges the entry fee in parts, with each exit; ours expenses a fee when it is paid. So ours is theirs
    less the entry fees of what is still held (rate x cost held), and equal once nothing is. (Theirs reports amount
    and stake of the last step as before the closing order; ours are then zero.)"""
    rate = amount(vector["input"]["fee_rate"])
    account = played(vector, fee_rate=vector["input"]["fee_rate"])
    *before, last = zip(account.books, vector["expected"]["steps"], strict=True)
    for book, step in before:
        holding = book.holdings["ETH"]
        assert (holding.quantity, holding.cost) == (Decimal(step["amount"]), Decimal(step["stake"]))
        assert entry_price(book, "ETH") == Decimal(step["avg_open"])
        close(vector, book.realized, Decimal(step["cumulative_realized"]) - rate * holding.cost)
    book, step = last
    assert quantity_of(book, "ETH") == 0
    close(vector, book.realized, step["cumulative_realized"])
    assert book.realized == account.cash == Decimal(vector["expected"]["end_profit"])
    bought = account.closed.entry_value * (1 + rate)
    close(vector, book.realized / bought, vector["expected"]["end_profit_ratio"])


@check("ft-calc-profit-889", "ft-calc-profit-906")
def profit_after_both_fees(vector: Vector) -> None:
    account = Account("ADA", "USDT")
    spent = Decimal(0)
    for side in ("buy", "sell"):
        order = vector["input"][side]
        fee = amount(order["qty"]) * amount(order["price"]) * amount(order["fee_rate"])
        account.trade(side, order["qty"], order["price"], fee=fee, fee_asset="USDT")
        spent = spent or -account.cash
    close(vector, account.book.realized, vector["expected"]["profit"])
    close(vector, account.book.realized / spent, vector["expected"]["profit_ratio"])
    assert account.cash == account.book.realized


@check("ft-close-value")
def close_value(vector: Vector) -> None:
    quantity, price = vector["input"]["qty"], vector["input"]["price"]
    account = Account("ADA", "USDT")
    fee = amount(quantity) * amount(price) * amount(vector["input"]["fee_rate"])
    account.trade("sell", quantity, price, fee=fee, fee_asset="USDT")
    assert account.cash == Decimal(vector["expected"]["close_value"])


@check("ft-bnb-and-base-fee")
def fee_rates(vector: Vector) -> None:
    """Theirs takes the unweighted mean of the rates of two fills, over the cost of the whole order for each. Ours
    keeps the fees' value, so the rate is fees over volume: (0.02 BNB x 0.2 + 0.004 LTC x 0.245441) / 1.963528."""
    account = played(vector, rates={"BNB": vector["input"]["BNBETH_last"]})
    assert account.quantity == Decimal(vector["expected"]["net_qty"])
    price = Decimal("0.245441")
    totals = account.book.symbols["LTCETH"]
    assert totals.fees == Decimal("0.02") * Decimal("0.2") + Decimal("0.004") * price
    assert totals.volume == 8 * price == Decimal("1.963528")
    rates = [Decimal("0.02") * Decimal("0.2") / totals.volume, Decimal("0.004") / 4]
    assert abs(sum(rates, Decimal(0)) / 2 - Decimal(str(vector["expected"]["avg_fee_rate"]))) < Decimal("1E-8")


@check("ft-base-fee")
def base_fee(vector: Vector) -> None:
    account = played(vector)
    assert account.book.fees_by_asset["LTC"] == Decimal(vector["expected"]["fee_base"])
    assert account.quantity == Decimal(vector["expected"]["net_qty_derived"])


@check("ft-dust-4180")
def base_fee_with_enough_in_the_wallet(vector: Vector) -> None:
    """A trap: theirs leaves the quantity as it is when the wallet holds enough. The fee was paid all the same."""
    account = Account("LTC", "ETH")
    account.deposit("LTC", amount(vector["input"]["wallet_free"]), rate="0.2")
    account.trade("buy", vector["input"]["bought"], "0.2", fee=amount(vector["input"]["fee_base"]), fee_asset="LTC")
    assert vector["expected"]["qty_reduction"] is None
    assert account.quantity == 10 + 8 - Decimal("0.1")


@check("bb-base-fee")
def base_fee_preserves_cost_elsewhere(vector: Vector) -> None:
    """Theirs leaves the cost at 10 for 0.009995 BTC, 1000.50025 each: a price that nobody paid. Ours expenses the fee,
    0.000005 x 1000, and the cost of what is left is 10 - 0.005, at the fill's own 1000. Cost less realized is 10 in
    both, and so is the cash."""
    account, expected = played(vector), vector["expected"]
    holding = account.book.holdings["BTC"]
    assert holding.quantity == Decimal(expected["qty"])
    assert account.cash == Decimal(expected["quote_cash"])
    assert (holding.cost, account.book.realized) == (Decimal("9.995"), Decimal("-0.005"))
    assert holding.average_cost == Decimal(1000)
    close(vector, (holding.cost - account.book.realized) / holding.quantity, expected["avg_cost"])


@check("bb-long-sell")
def long_sell(vector: Vector) -> None:
    account, expected = played(vector), vector["expected"]
    assert (account.quantity, account.cash) == (Decimal(expected["qty"]), Decimal(expected["quote_cash"]))
    assert account.book.realized == Decimal(expected["realized"])
    assert account.book.holdings["BTC"].average_cost == Decimal(expected["avg_cost"])


@check("rk-acb-11-steps")
def average_cost_with_missing_acquisitions(vector: Vector) -> None:
    """Theirs takes a sale that nothing explains for profit in full. Ours books what is missing as an opening flow at
    its market value, so that it gains nothing: step 10 has 0.1 x 5 less, step 11 has 0.5 x 5 less."""
    account, expected = Account("ETH", "EUR"), vector["expected"]
    missing = {line["step"]: Decimal(line["missing"]) for line in expected["missing"]}
    realized = Decimal(0)
    for step, (side, quantity, price) in enumerate(vector["input"]["ops"], start=1):
        flows = account.book.net_flows
        account.trade(side, quantity, price)
        opening = missing.get(step, Decimal(0)) * Decimal(price)
        close(vector, account.book.realized - realized, Decimal(expected["pnl"][step - 1]) - opening)
        assert account.book.net_flows - flows == opening
        assert bool(account.outcomes[-1].warnings) is (step in missing)
        assert account.quantity == Decimal(expected["qty"][step - 1])
        held = account.book.holdings.get("ETH")
        close(vector, held.cost if held else Decimal(0), expected["total_cost"][step - 1])
        realized = account.book.realized
    assert account.closed.missing_quantity == Decimal("0.5")


@check("rk-fees-acb-in-cost")
def fees_in_cost_elsewhere(vector: Vector) -> None:
    """Theirs adds a buy's fee to the cost: (5010 / 100) x 50 leaves with the first sale. Ours expenses it: the sale
    gains 6000 - 2500 - 10 = 3490, and the second 3600 - 40 x (2500 + 6500) / 100 - 10 = -10; the two buys -10 each.
    Realized less the cost still held is the cash in both: 3469 - 5409 = 3460 - 5400."""
    account = played(vector)
    steps = [after.realized - before.realized for before, after in zip(account.books, account.books[1:], strict=False)]
    assert [account.books[0].realized, *steps] == [-10, 3490, -10, -10]
    theirs = sum((Decimal(pnl) for pnl in vector["expected"]["sell_pnl"]), Decimal(0))
    their_cost = (Decimal(5010) / 2 + 6510) * 60 / 100
    assert account.cash == theirs - their_cost == account.book.realized - account.book.holdings["ETH"].cost


@check("rk-buy-rate-quote-fee")
def buy_rate_with_fee_elsewhere(vector: Vector) -> None:
    """Theirs is (5 x 578.505 + 0.0012) / 5. Ours is the price paid, and the fee is an expense; together the same."""
    account = played(vector)
    holding = account.book.holdings["BTC"]
    assert holding.average_cost == Decimal("578.505")
    close(vector, (holding.cost - account.book.realized) / holding.quantity, vector["expected"]["cost_rate"])


@check("rk-sell-without-buy")
def sale_without_purchase(vector: Vector) -> None:
    """Theirs: 2519.62 of profit. Ours: an opening flow of 2519.62, no profit, and a warning; the fee is the same."""
    account, expected = played(vector), vector["expected"]
    assert account.book.net_flows - FUNDS == Decimal(expected["trade_pnl"])
    assert account.book.realized == Decimal(expected["fee_pnl"])
    assert "missing acquisition: 1 BTC" in account.outcomes[0].warnings[0]


@check("gf-novn-buy-sell", "gf-novn-partial", "gf-btcusd")
def gross_and_net(vector: Vector) -> None:
    """Their percentages are over time-weighted invested capital, a statistic; the amounts are the ledger's. Where the
    capital is what was paid for the whole time, the percentage follows from it."""
    account, expected = played(vector), vector["expected"]
    base = account.base
    value = value_book(account.book, {base: amount(vector["input"]["mark"])})
    close(vector, value.total_pnl, expected["net"])
    close(vector, value.total_pnl + value.fees, expected["gross"])
    held = {line.asset: line.value for line in value.holdings}.get(base, Decimal(0))
    assert held == Decimal(expected.get("value", "0"))
    if "avg" in expected:
        assert entry_price(account.book, base) == Decimal(expected["avg"])
    if vector["id"] != "gf-novn-partial":
        paid = amount(vector["input"]["fills"][0]["price"]) * amount(vector["input"]["fills"][0]["qty"])
        close(vector, (value.total_pnl + value.fees) / paid, expected["gross_pct"])


@check("hb-trade-pnl")
def against_holding(vector: Vector) -> None:
    """Theirs compares with holding what was there at the start: 105 HBOT and 9200 USDT. Taken in at the same mark,
    that is our total PnL."""
    mark, current = amount(vector["input"]["mark"]), vector["input"]["current_balances"]
    account = Account("HBOT", "USDT", reporting="USDT")
    account.deposit("HBOT", amount(current["HBOT"]) - 10 + 15, rate=vector["input"]["mark"])
    account.deposit("USDT", amount(current["USDT"]) + 10 * 100 - 15 * 120)
    for fill in vector["input"]["fills"]:
        account.trade(fill["side"], fill["qty"], fill["price"])
    assert {asset: quantity_of(account.book, asset) for asset in current} == {"HBOT": 100, "USDT": 10000}
    assert value_book(account.book, {"HBOT": mark}).total_pnl == Decimal(vector["expected"]["trade_pnl_vs_hold"])


@check("hb-avg-fill-price-trap")
def average_price_is_weighted(vector: Vector) -> None:
    """A trap: the unweighted mean of 10 and 20 is 15; 100 at 10 and 300 at 20 cost 17.5 each."""
    account = Account("HBOT", "USDT")
    for quantity, price in vector["input"]["order_fills"]:
        account.trade("buy", quantity, price)
    assert entry_price(account.book, "HBOT") == Decimal(vector["expected"]["vwap_correct"])


@check("pp-cost-zero-residue")
def no_residue_at_zero(vector: Vector) -> None:
    """Three tenths of 0.01 are rounded twice on the way; what was cut off is still there for the last sale."""
    account = Account("SHARE", "EUR")
    for side, quantity, gross in vector["input"]["ops"]:
        account.trade(side, str(quantity), "0.003", quote_quantity=amount(gross))
    assert "SHARE" not in account.book.holdings
    assert account.book.realized == account.cash == Decimal("0.02")


def test_every_vector_has_a_check() -> None:
    assert set(CHECKS) | LOTS == set(VECTORS)
    assert len(VECTORS) == 44


@pytest.mark.parametrize("identifier", [name for name in VECTORS if name not in LOTS])
def test_vector(identifier: str) -> None:
    CHECKS[identifier](VECTORS[identifier])
