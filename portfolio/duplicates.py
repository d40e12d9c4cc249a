"""Is this fill new? The one question that delivery at least once leaves to the ledger.

Fills of a symbol come in the order of their trade ids, so the last id decides. Two orders of the same account can
share a trade id (self-trade), so at the last id the orders decide. Same id and same content is a duplicate; same id
and other content is a conflict, and is never booked.
"""

from enum import StrEnum
from zlib import crc32

from portfolio.book import Book, Cursor, SymbolTotals
from portfolio.events import CostAdjustment, Fill, Reclassification, TradeCorrection
from portfolio.money import plain


class Novelty(StrEnum):
    """What the ledger has seen of a fill."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


def classify_fill(fill: Fill, totals: SymbolTotals) -> Novelty:
    """Compare a fill with the last one of its symbol and kind of execution."""
    cursor = totals.cursors.get(fill.execution)
    if cursor is None or fill.trade_id > cursor.last_id:
        return Novelty.NEW
    if fill.trade_id < cursor.last_id:
        return Novelty.DUPLICATE
    known = cursor.orders.get(fill.order_id)
    if known is None:
        return Novelty.NEW
    return Novelty.DUPLICATE if known == fingerprint(fill) else Novelty.CONFLICT


def classify_correction(event: CostAdjustment | Reclassification, book: Book) -> Novelty:
    """Compare an adjustment or a reclassification with what was booked under its identifier."""
    known = book.adjustments.get(event.id)
    if known is None:
        return Novelty.NEW
    return Novelty.DUPLICATE if known == correction_fingerprint(event) else Novelty.CONFLICT


def classify_trade_correction(event: TradeCorrection, known: TradeCorrection) -> Novelty:
    """Compare a trade correction with the one that came before it under its identifier."""
    same = correction_fingerprint(event) == correction_fingerprint(known)
    return Novelty.DUPLICATE if same else Novelty.CONFLICT


def advance(cursor: Cursor | None, fill: Fill) -> Cursor:
    """The cursor after a fill was booked; one that came late leaves it where it is."""
    if cursor is None or fill.trade_id > cursor.last_id:
        return Cursor(fill.trade_id, {fill.order_id: fingerprint(fill)})
    if fill.trade_id == cursor.last_id:
        return Cursor(fill.trade_id, {**cursor.orders, fill.order_id: fingerprint(fill)})
    return cursor


def fingerprint(fill: Fill) -> int:
    """A checksum of what a fill moves: side, price, quantity and fee, by value (1.0 equals 1.00)."""
    numbers = (plain(fill.price), plain(fill.quantity), plain(fill.fee))
    return crc32(" ".join((fill.side, *numbers, fill.fee_asset)).encode())


def correction_fingerprint(event: CostAdjustment | Reclassification | TradeCorrection) -> int:
    """A checksum of what a correction changes, by value."""
    return crc32(_content(event).encode())


def _content(event: CostAdjustment | Reclassification | TradeCorrection) -> str:
    match event:
        case CostAdjustment():
            return f"cost {event.asset} {plain(event.amount)} {event.target}"
        case Reclassification():
            return f"kind {event.flow_id} {event.kind}"
        case TradeCorrection():
            return f"trade {event.fill_key} {_becomes(event.replacement)} {event.flows}"


def _becomes(replacement: Fill | None) -> str:
    if replacement is None:
        return "nothing"
    quote_quantity = replacement.quote_quantity
    return f"{fingerprint(replacement)} {'' if quote_quantity is None else plain(quote_quantity)}"
