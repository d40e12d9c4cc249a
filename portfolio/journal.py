"""The journal: what each event did to the book, in double entry."""

from decimal import Decimal
from enum import StrEnum

import msgspec

from portfolio.events import Event
from portfolio.money import ZERO
from portfolio.positions import Position


class EntryKind(StrEnum):
    """What an entry books."""

    FILL = "fill"
    FLOW = "flow"
    OPENING = "opening"
    """A missing acquisition, made good at market value just before what needs it."""
    COST_ADJUSTMENT = "cost_adjustment"
    RECLASSIFICATION = "reclassification"


class Posting(msgspec.Struct, frozen=True):
    """The change of one holding. All three are positive for what came in and negative for what went out."""

    asset: str
    quantity: Decimal
    cost: Decimal
    """Change of the cost basis, reporting currency."""
    value: Decimal
    """Market value of what moved, reporting currency; for what went out, value less cost is the gain, negated."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One booking. The costs of its postings add up to its flow plus its realized, exactly."""

    kind: EntryKind
    postings: tuple[Posting, ...] = ()
    symbol: str = ""
    """The symbol to which the realized part is attributed."""
    value: Decimal = ZERO
    """Market value of what was traded or flowed, in the reporting currency; positive."""
    flow: Decimal = ZERO
    """Change of the net flows."""
    realized: Decimal = ZERO
    """Change of the realized PnL; fees are inside, as a negative."""
    fee: Decimal = ZERO
    """Market value of the fee."""


class Valuation(msgspec.Struct, frozen=True, kw_only=True):
    """An account at a valuation point: one observation of the equity curve, reporting currency."""

    time_us: int
    equity: Decimal
    inflow: Decimal
    """Paid in since the valuation point before."""
    outflow: Decimal
    """Paid out since the valuation point before, as a positive number."""
    index: Decimal
    """Time-weighted return index, 1 at the start."""
    drawdown: Decimal
    """Distance of the index from its peak: a negative fraction, or zero."""


class Booked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event that was applied, with its place in the account's history and what it did."""

    sequence: int
    event: Event
    """What was booked. Of an event that a correction changed, what it became; of one that it cancelled, its prices."""
    entries: tuple[Entry, ...] = ()
    valuation: Valuation | None = None
    closed: tuple[Position, ...] = ()
    """Positions that it closed."""
    warnings: tuple[str, ...] = ()
    corrected_by: str = ""
    """The trade correction that made this of the event; empty where it is booked as it came."""
    restated_from: int = 0
    """Of a trade correction: the first event that is booked in another way because of it; 0: there is none."""
    revision: int = 0
    """The newest trade correction, counted from 1, that changed the history which this is part of; 0: none did."""
