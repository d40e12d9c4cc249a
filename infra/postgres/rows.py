"""From ledger updates to rows: pure, so that what is written can be checked without a database."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec

from portfolio.events import Event, Fill, Flow, FlowKind, Marks, Reclassification, TradeCorrection, ValuationPoint
from portfolio.journal import Booked, Entry, EntryKind, Posting
from portfolio.money import ZERO, exact_arithmetic
from portfolio.snapshots import AccountSnapshot, BalanceSnapshot, LedgerUpdate, PositionSnapshot

Row = tuple[Any, ...]

_postings = msgspec.json.Encoder(decimal_format="string")
_fills = msgspec.json.Encoder(decimal_format="string")
_marks = msgspec.json.Encoder(decimal_format="string")
_events = msgspec.msgpack.Encoder()
_events_decoder: Final = msgspec.msgpack.Decoder(tuple[Event, ...])
_marks_decoder: Final = msgspec.json.Decoder(dict[str, Decimal])


def encode_marks(marks: dict[str, Decimal]) -> str:
    """Prices as JSON with the decimals as strings."""
    return _marks.encode(marks).decode()


def decode_marks(text: str) -> dict[str, Decimal]:
    """The inverse of `encode_marks`."""
    return _marks_decoder.decode(text)


def decode_events(data: bytes) -> tuple[Event, ...]:
    """The events of a row of `event_pages`."""
    return _events_decoder.decode(data)


@dataclass(slots=True)
class SymbolChange:
    """What some entries add to the totals of a symbol, reporting currency."""

    realized: Decimal = ZERO
    fees: Decimal = ZERO
    volume: Decimal = ZERO
    fills: int = 0


@dataclass(slots=True)
class Rows:
    """The rows that some updates come to, table by table, in the order of the columns in `writer`."""

    positions: dict[tuple[str, str], Row] = field(default_factory=dict)
    balances: dict[tuple[str, str], Row] = field(default_factory=dict)
    fills: list[Row] = field(default_factory=list)
    flows: list[Row] = field(default_factory=list)
    reclassified: list[Row] = field(default_factory=list)
    journal_entries: list[Row] = field(default_factory=list)
    valuations: list[Row] = field(default_factory=list)
    rates: list[Row] = field(default_factory=list)
    event_pages: list[Row] = field(default_factory=list)
    checkpoints: list[Row] = field(default_factory=list)
    warnings: list[Row] = field(default_factory=list)
    corrections: list[Row] = field(default_factory=list)
    symbols: defaultdict[tuple[str, str], SymbolChange] = field(
        default_factory=lambda: defaultdict[tuple[str, str], SymbolChange](SymbolChange)
    )

    def add(self, update: LedgerUpdate) -> None:
        """Add what one update says. The updates of an account must come in the order of the log."""
        with exact_arithmetic():
            for booked in update.booked:
                self._add_booked(update.account, booked)
        if update.booked:
            self.event_pages.append(_event_page_row(update))
        if update.checkpoint is not None:
            self.checkpoints.append((update.account, update.snapshot.sequence, update.checkpoint))
        for position in update.positions:
            self.positions[position.account, position.id] = _position_row(position)
        for balance in update.balances:
            self.balances[balance.account, balance.asset] = _balance_row(balance)

    def symbol_rows(self) -> list[Row]:
        """The changes of the symbols' totals."""
        return [
            (account, symbol, change.realized, change.fees, change.volume, change.fills)
            for (account, symbol), change in sorted(self.symbols.items(), key=lambda item: item[0])
        ]

    def _add_booked(self, account: str, booked: Booked) -> None:
        for leg, entry in enumerate(booked.entries):
            self.journal_entries.append(_entry_row(account, booked, leg, entry))
            self._add_to_symbol(account, entry)
            if entry.kind is EntryKind.OPENING:
                self.flows.append(_opening_row(account, booked, leg, entry.postings[0]))
        self._add_event(account, booked, booked.event)
        if booked.valuation is not None:
            point = booked.valuation
            self.valuations.append(
                (
                    account,
                    point.time_us,
                    booked.sequence,
                    point.equity,
                    point.inflow,
                    point.outflow,
                    point.index,
                    point.drawdown,
                    booked.revision,
                )
            )
        for number, message in enumerate(booked.warnings):
            self.warnings.append((account, booked.sequence, number, booked.event.time_us, message))

    def _add_event(self, account: str, booked: Booked, event: Event) -> None:
        match event:
            case Fill():
                self.fills.append(_fill_row(account, booked, event))
            case Flow():
                self.flows.append(_flow_row(account, booked, event))
            case Reclassification():
                self.reclassified.append((account, event.flow_id, event.kind.value))
            case TradeCorrection():
                self.corrections.append(_correction_row(account, booked, event))
            case ValuationPoint():
                self.rates += [
                    (account, asset, event.time_us, booked.sequence, rate) for asset, rate in event.rates.items()
                ]
            case _:
                pass

    def _add_to_symbol(self, account: str, entry: Entry) -> None:
        is_fill = entry.kind is EntryKind.FILL
        if is_fill or entry.realized:
            change = self.symbols[account, entry.symbol]
            change.realized += entry.realized
            change.fees += entry.fee
            change.volume += entry.value if is_fill else ZERO
            change.fills += int(is_fill)


def snapshot_rows(snapshots: Iterable[AccountSnapshot]) -> list[Row]:
    """The points of the equity curve."""
    return [
        (
            snapshot.account,
            snapshot.valued_time_us,
            snapshot.sequence,
            snapshot.equity,
            snapshot.net_flows,
            snapshot.realized,
            snapshot.unrealized,
            snapshot.fees,
            snapshot.twr_index,
            snapshot.drawdown,
        )
        for snapshot in snapshots
    ]


def _entry_of(entries: Sequence[Entry], kind: EntryKind) -> Entry:
    return next(entry for entry in entries if entry.kind is kind)


def _fill_row(account: str, booked: Booked, fill: Fill) -> Row:
    entry = _entry_of(booked.entries, EntryKind.FILL)
    quote_quantity = fill.price * fill.quantity if fill.quote_quantity is None else fill.quote_quantity
    return (
        fill.symbol,
        account,
        fill.execution.value,
        fill.trade_id,
        fill.order_id,
        fill.time_us,
        booked.sequence,
        fill.side.value,
        fill.price,
        fill.quantity,
        quote_quantity,
        entry.value,
        entry.realized,
        fill.fee,
        fill.fee_asset,
        entry.fee,
        fill.maker,
        fill.client_order_id,
        fill.strategy,
        fill.cycle_id,
        booked.corrected_by,
        booked.revision,
    )


def _flow_row(account: str, booked: Booked, flow: Flow) -> Row:
    value = _entry_of(booked.entries, EntryKind.FLOW).value
    signed = value if flow.quantity > ZERO else -value
    return (
        account,
        flow.id,
        flow.time_us,
        booked.sequence,
        flow.asset,
        flow.quantity,
        flow.kind.value,
        signed,
        booked.revision,
    )


def _correction_row(account: str, booked: Booked, correction: TradeCorrection) -> Row:
    replacement = correction.replacement
    return (
        account,
        correction.id,
        booked.sequence,
        correction.time_us,
        correction.symbol,
        correction.execution.value,
        correction.trade_id,
        correction.order_id,
        None if replacement is None else _fills.encode(replacement).decode(),
        list(correction.flows),
        correction.author,
        correction.reason,
        booked.restated_from,
    )


def _opening_row(account: str, booked: Booked, leg: int, posting: Posting) -> Row:
    return (
        account,
        f"opening-{booked.sequence}-{leg}",
        booked.event.time_us,
        booked.sequence,
        posting.asset,
        posting.quantity,
        FlowKind.OPENING.value,
        posting.cost,
        booked.revision,
    )


def _entry_row(account: str, booked: Booked, leg: int, entry: Entry) -> Row:
    return (
        account,
        booked.sequence,
        leg,
        booked.event.time_us,
        entry.kind.value,
        entry.symbol,
        entry.value,
        entry.flow,
        entry.realized,
        entry.fee,
        _postings.encode(entry.postings).decode(),
        booked.revision,
    )


def _event_page_row(update: LedgerUpdate) -> Row:
    return (
        update.account,
        update.booked[0].sequence,
        update.booked[-1].sequence,
        update.position.partition,
        update.position.offset,
        min(booked.event.time_us for booked in update.booked),
        max(booked.event.time_us for booked in update.booked),
        _events.encode(tuple(_folds_forward(booked.event) for booked in update.booked)),
    )


def _folds_forward(event: Event) -> Event:
    """The event as whoever folds the past anew needs it: what a correction changed is in the events before it."""
    return Marks(rates={}, time_us=event.time_us) if isinstance(event, TradeCorrection) else event


def _position_row(position: PositionSnapshot) -> Row:
    return (
        position.account,
        position.id,
        position.asset,
        position.symbol,
        list(position.symbols),
        position.side,
        position.status.value,
        position.quantity,
        position.peak_quantity,
        position.entry_price,
        position.exit_price,
        position.cost,
        position.realized,
        position.fees,
        position.fills,
        position.missing_quantity,
        position.open_time_us,
        position.close_time_us,
        position.sequence,
        position.revision,
    )


def _balance_row(balance: BalanceSnapshot) -> Row:
    return (
        balance.account,
        balance.asset,
        balance.quantity,
        balance.cost,
        balance.average_cost,
        balance.free,
        balance.locked,
        balance.exchange_time_us,
        balance.difference,
        balance.reason,
        balance.sequence,
    )
