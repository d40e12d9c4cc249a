"""The pure core: what an account is worth, and why.

No I/O, no clock, no broker: usable alone, in a notebook.

    from portfolio import Fill, Side, amount, fold, new_book, value_book

    fill = Fill(symbol="BTCUSDT", base="BTC", quote="USDT", side=Side.BUY, price=amount("60000"),
                quantity=amount("0.5"), trade_id=1, order_id=1, time_us=1_700_000_000_000_000)
    book = fold(new_book("main", "USDT"), [fill]).book
    value_book(book, {"BTC": amount("61000")}).unrealized   # Decimal('500.0')
"""

from portfolio.amendments import Amendments
from portfolio.book import (
    DEFAULT_CASH_ASSETS,
    Book,
    LogPosition,
    book_checksum,
    decode_book,
    encode_book,
    new_book,
)
from portfolio.errors import InvalidAmount, InvalidBook, InvalidEvent, MissingRate, NeedsHistory, PortfolioError
from portfolio.events import (
    Balance,
    BalanceReport,
    CostAdjustment,
    CostTarget,
    Event,
    ExecutionKind,
    Fill,
    Flow,
    FlowKind,
    Marks,
    Reclassification,
    Side,
    TradeCorrection,
    ValuationPoint,
)
from portfolio.journal import Booked, Entry, EntryKind, Posting, Valuation
from portfolio.ledger import Outcome, fold
from portfolio.money import amount, exact_arithmetic, plain
from portfolio.positions import Holding, Position
from portfolio.reconciliation import Difference, DifferenceReason, reconcile
from portfolio.refold import refold
from portfolio.valuation import AccountValue, HoldingValue, value_book

__all__ = [
    "DEFAULT_CASH_ASSETS",
    "AccountValue",
    "Amendments",
    "Balance",
    "BalanceReport",
    "Book",
    "Booked",
    "CostAdjustment",
    "CostTarget",
    "Difference",
    "DifferenceReason",
    "Entry",
    "EntryKind",
    "Event",
    "ExecutionKind",
    "Fill",
    "Flow",
    "FlowKind",
    "Holding",
    "HoldingValue",
    "InvalidAmount",
    "InvalidBook",
    "InvalidEvent",
    "LogPosition",
    "Marks",
    "MissingRate",
    "NeedsHistory",
    "Outcome",
    "PortfolioError",
    "Position",
    "Posting",
    "Reclassification",
    "Side",
    "TradeCorrection",
    "Valuation",
    "ValuationPoint",
    "amount",
    "book_checksum",
    "decode_book",
    "encode_book",
    "exact_arithmetic",
    "fold",
    "new_book",
    "plain",
    "reconcile",
    "refold",
    "value_book",
]
