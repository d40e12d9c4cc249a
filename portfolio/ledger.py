"""The ledger: events in, a new book and its journal out.

`fold` is the only way a book changes. It is a pure function of the book and the events: no clock, no price source,
no settings. So the same log gives the same book, to the byte, whenever and however often it is folded.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from portfolio.amendments import NO_AMENDMENTS, Amended, Amendments
from portfolio.book import Book, BookedFlow, ExchangeBalance, LogPosition, Mark, SymbolTotals, flow_symbol
from portfolio.booking import Booking
from portfolio.duplicates import (
    Novelty,
    advance,
    classify_correction,
    classify_fill,
    classify_trade_correction,
    correction_fingerprint,
)
from portfolio.errors import InvalidEvent, NeedsHistory
from portfolio.events import (
    Balance,
    BalanceReport,
    CostAdjustment,
    CostTarget,
    Event,
    Fill,
    Flow,
    Marks,
    Reclassification,
    Side,
    TradeCorrection,
    ValuationPoint,
    fill_key,
)
from portfolio.journal import Booked, EntryKind, Valuation
from portfolio.money import ONE, ZERO, chained, exact_arithmetic, plain, ratio
from portfolio.pricing import price_fill, price_flow
from portfolio.valuation import value_book

Classify = Callable[[Fill, SymbolTotals], Novelty]
"""Decides whether a fill was seen before, from what the book knows of its symbol."""

NO_BALANCE = Balance(ZERO, ZERO)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What folding some events came to."""

    book: Book
    booked: tuple[Booked, ...]
    """The events that were applied, in order, with what each did."""
    duplicates: int
    """Events that had been applied before."""
    conflicts: tuple[Event, ...]
    """Events with an identifier that was booked with another content; they were not applied."""
    touched: tuple[str, ...]
    """Assets whose holding or exchange balance changed."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of all events."""
        return tuple(warning for booked in self.booked for warning in booked.warnings)


def fold(
    book: Book,
    events: Iterable[Event],
    *,
    position: LogPosition | None = None,
    classify: Classify = classify_fill,
    amendments: Amendments = NO_AMENDMENTS,
) -> Outcome:
    """Apply events to a book.

    Args:
        book: The book before; it is not changed.
        events: The events, in the order of the log.
        position: The log position of the record that carries them; the new book remembers it. A record at or before
            the book's own position was folded already, so every event of it is a duplicate: one record is one fold.
        classify: Decides whether a fill is new. The default trusts that fills of a symbol come in order of their id.
        amendments: Trade corrections that come later in the log; they have effect only with a `position`.

    Returns:
        The new book and its journal. Where every event was a duplicate the book differs in its position only.

    Raises:
        InvalidEvent: An event cannot be booked (`MissingRate`: it cannot be valued; `NeedsHistory`: it is a trade
            correction that is not among the amendments). Nothing was applied.
    """
    if position is not None and book.has_seen(position):
        return Outcome(book=book, booked=(), duplicates=sum(1 for _ in events), conflicts=(), touched=())
    run = _Run(book.copy(), classify, amendments, position)
    with exact_arithmetic():
        for index, event in enumerate(events):
            try:
                run.apply(event)
            except InvalidEvent as error:
                error.index = index
                raise
    if position is not None:
        run.book.position = position
    return run.outcome()


class _Run:
    """The working copy of a book while events are folded into it."""

    def __init__(self, book: Book, classify: Classify, amendments: Amendments, position: LogPosition | None) -> None:
        self.book = book
        self._classify = classify
        self._amendments = amendments
        self._position = position
        self._booked: list[Booked] = []
        self._duplicates = 0
        self._conflicts: list[Event] = []
        self._touched: dict[str, None] = {}

    def outcome(self) -> Outcome:
        return Outcome(
            book=self.book,
            booked=tuple(self._booked),
            duplicates=self._duplicates,
            conflicts=tuple(self._conflicts),
            touched=tuple(self._touched),
        )

    def apply(self, event: Event) -> None:
        novelty = self._novelty(event)
        if novelty is Novelty.DUPLICATE:
            self._duplicates += 1
            return
        if novelty is Novelty.CONFLICT:
            self._conflicts.append(event)
            return
        self.book.sequence += 1
        self.book.event_time_us = max(self.book.event_time_us, event.time_us)
        booked = self._book_event(event)
        revision = max((one.revision for one in self.book.corrections.values() if not one.sequence), default=0)
        self._booked.append(replace(booked, revision=revision) if revision else booked)

    def _novelty(self, event: Event) -> Novelty:
        match event:
            case Fill():
                return self._classify(event, self.book.symbols.get(event.symbol) or SymbolTotals())
            case Flow():
                known = self.book.flows.get(event.id)
                if known is None:
                    return Novelty.NEW
                return Novelty.DUPLICATE if known.is_of(event) else Novelty.CONFLICT
            case CostAdjustment() | Reclassification():
                return classify_correction(event, self.book)
            case TradeCorrection():
                noted = self.book.corrections.get(event.id)
                if noted is not None and noted.sequence:
                    return classify_trade_correction(event, noted.correction)
                amendment = self._amendments.booked(event.id)
                if amendment is None or amendment.position != self._position:
                    raise NeedsHistory(event.id)
                return Novelty.NEW
            case _:
                return Novelty.NEW

    def _book_event(self, event: Event) -> Booked:
        match event:
            case Fill():
                return self._book_amended_fill(event) or self._book_fill(event)
            case Flow():
                return self._book_amended_flow(event) or self._book_flow(event)
            case TradeCorrection():
                return self._note_correction(event)
            case BalanceReport():
                return self._note_balances(event)
            case ValuationPoint():
                return self._close_period(event)
            case Marks():
                self._mark(event.rates, event.time_us)
                return self._plain(event)
            case CostAdjustment():
                return self._adjust_cost(event)
            case Reclassification():
                return self._reclassify(event)

    def _book_fill(self, fill: Fill) -> Booked:
        prices = price_fill(fill, self.book)
        booking = Booking(self.book, kind=EntryKind.FILL, symbol=fill.symbol, time_us=fill.time_us)
        booking.warnings.extend(prices.warnings)
        booking.set_dust_limit(fill.base, fill.dust_limit)
        base, quote = (fill.base, fill.quantity), (fill.quote, prices.quote_quantity)
        out, into = (quote, base) if fill.side is Side.BUY else (base, quote)
        for move, (asset, quantity) in ((booking.dispose, out), (booking.acquire, into)):
            symbol = fill.symbol if asset == fill.base else flow_symbol(asset, self.book.reporting)
            move(asset, quantity, prices.value, position_symbol=symbol)
        booking.count_fill(fill.base, fill.quote)
        if fill.fee:
            booking.pay_fee(fill.fee_asset, fill.fee, prices.fee_value, borne_by=(fill.base, fill.quote))
            paid = self.book.fees_by_asset.get(fill.fee_asset, ZERO)
            self.book.fees_by_asset[fill.fee_asset] = paid + fill.fee
        booking.finish(value=prices.value, volume=prices.value, fills=1)
        self._advance(fill)
        self._mark(prices.rates, fill.time_us)
        return self._finished(fill, booking)

    def _book_amended_fill(self, fill: Fill) -> Booked | None:
        """Book what a later correction makes of a fill; None where there is none.

        It stays known as it came, or the exchange's own fill, delivered again, would contradict it. The prices that it
        carried stay too: what came after may have been valued at them.
        """
        amended = None if self._position is None else self._amendments.of_fill(fill_key(fill), self._position)
        if amended is None or amended.in_force is None:
            return None
        self._begin_restatement(amended)
        prices = price_fill(fill, self.book)
        self._mark(prices.rates, fill.time_us)
        replacement = amended.in_force.replacement
        if replacement is None:
            self.book.symbols.setdefault(fill.symbol, SymbolTotals())
            booked = self._plain(Marks(rates=prices.rates, time_us=fill.time_us))
        else:
            booked = self._book_fill(
                replace(
                    replacement,
                    base=fill.base,
                    quote=fill.quote,
                    time_us=fill.time_us,
                    rates={**fill.rates, **replacement.rates},
                )
            )
        self._advance(fill)
        return replace(booked, corrected_by=amended.in_force.id)

    def _book_amended_flow(self, flow: Flow) -> Booked | None:
        """Take a flow as nothing that a later correction explains; None where there is none."""
        amended = None if self._position is None else self._amendments.of_flow(flow.id, self._position)
        if amended is None:
            return None
        self._begin_restatement(amended)
        if amended.in_force is None:
            return None
        self._mark(flow.rates, flow.time_us)
        self.book.flows[flow.id] = BookedFlow(flow.time_us, flow.asset, flow.quantity, flow.kind, ZERO)
        booked = self._plain(Marks(rates=flow.rates, time_us=flow.time_us))
        return replace(booked, corrected_by=amended.in_force.id)

    def _begin_restatement(self, amended: Amended) -> None:
        for one in amended.pending:
            if one.correction.id not in self.book.corrections:
                self.book.corrections[one.correction.id] = replace(one, first_sequence=self.book.sequence)

    def _note_correction(self, correction: TradeCorrection) -> Booked:
        amendment = self._amendments.booked(correction.id)
        if amendment is None:
            raise NeedsHistory(correction.id)
        known = self.book.corrections.get(correction.id, amendment)
        self.book.corrections[correction.id] = replace(known, sequence=self.book.sequence)
        self._touched |= dict.fromkeys((*self.book.holdings, *self.book.exchange))
        booked = self._plain(correction)
        if known.first_sequence:
            return replace(booked, restated_from=known.first_sequence)
        key = f"fill {correction.trade_id} of {correction.symbol}"
        return replace(booked, warnings=(f"trade correction {correction.id}: no {key} stands before it in the log",))

    def _book_flow(self, flow: Flow) -> Booked:
        value, warnings = price_flow(flow, self.book)
        symbol = flow_symbol(flow.asset, self.book.reporting)
        booking = Booking(self.book, kind=EntryKind.FLOW, symbol=symbol, time_us=flow.time_us)
        booking.warnings.extend(warnings)
        booking.set_dust_limit(flow.asset, flow.dust_limit)
        move = booking.acquire if flow.quantity > ZERO else booking.dispose
        move(flow.asset, abs(flow.quantity), value, position_symbol=symbol)
        signed = value if flow.quantity > ZERO else -value
        if flow.kind.is_income:
            booking.add_income(signed)
        else:
            booking.add_flow(signed)
        booking.finish(value=value)
        self.book.flows[flow.id] = BookedFlow(flow.time_us, flow.asset, flow.quantity, flow.kind, signed)
        self._mark(flow.rates, flow.time_us)
        return self._finished(flow, booking)

    def _note_balances(self, report: BalanceReport) -> Booked:
        reported = dict(report.balances)
        if report.complete:
            known = {**self.book.exchange, **self.book.holdings}
            reported |= {asset: NO_BALANCE for asset in known if asset not in reported}
        for asset, balance in reported.items():
            before = self.book.exchange.get(asset)
            if before is None or report.time_us >= before.time_us:
                self.book.exchange[asset] = ExchangeBalance(balance.free, balance.locked, report.time_us)
                self._touched[asset] = None
        return self._plain(report)

    def _close_period(self, point: ValuationPoint) -> Booked:
        self._mark(point.rates, point.time_us)
        before = self.book.returns
        equity = value_book(self.book, point.rates).equity
        invested = before.last_equity + before.inflow
        growth = ratio(equity + before.outflow, invested) if invested > ZERO else ONE
        index = chained(before.index, growth)
        after = replace(
            before,
            index=index,
            peak=max(before.peak, index),
            last_equity=equity,
            last_time_us=point.time_us,
            inflow=ZERO,
            outflow=ZERO,
        )
        after = replace(after, max_drawdown=min(after.max_drawdown, after.drawdown))
        self.book.returns = after
        valuation = Valuation(
            time_us=point.time_us,
            equity=equity,
            inflow=before.inflow,
            outflow=before.outflow,
            index=index,
            drawdown=after.drawdown,
        )
        return Booked(sequence=self.book.sequence, event=point, valuation=valuation)

    def _adjust_cost(self, adjustment: CostAdjustment) -> Booked:
        held = self.book.holdings.get(adjustment.asset)
        if adjustment.asset == self.book.reporting:
            raise InvalidEvent(f"adjustment {adjustment.id}: the reporting currency always costs 1")
        on_holding = adjustment.target is CostTarget.HOLDING
        if on_holding and held is None:
            raise InvalidEvent(
                f"adjustment {adjustment.id}: no {adjustment.asset} is held; to correct what was sold, target realized"
            )
        if on_holding and held is not None and held.cost + adjustment.amount < ZERO:
            raise InvalidEvent(
                f"adjustment {adjustment.id}: the {adjustment.asset} held costs {plain(held.cost)}; "
                f"{plain(adjustment.amount)} would take its cost below zero"
            )
        symbol = flow_symbol(adjustment.asset, self.book.reporting)
        booking = Booking(self.book, kind=EntryKind.COST_ADJUSTMENT, symbol=symbol, time_us=adjustment.time_us)
        if on_holding:
            booking.adjust_cost(adjustment.asset, adjustment.amount)
        else:
            booking.add_income(-adjustment.amount)
        booking.restate_flow(adjustment.amount)
        booking.finish(value=abs(adjustment.amount))
        self.book.adjustments[adjustment.id] = correction_fingerprint(adjustment)
        return self._finished(adjustment, booking)

    def _reclassify(self, change: Reclassification) -> Booked:
        flow = self.book.flows.get(change.flow_id)
        if flow is None:
            raise InvalidEvent(f"reclassification {change.id}: no flow {change.flow_id!r} was booked")
        symbol = flow_symbol(flow.asset, self.book.reporting)
        booking = Booking(self.book, kind=EntryKind.RECLASSIFICATION, symbol=symbol, time_us=change.time_us)
        earned = int(change.kind.is_income) - int(flow.kind.is_income)
        booking.add_income(earned * flow.value)
        booking.restate_flow(-earned * flow.value)
        booking.finish(value=abs(flow.value))
        self.book.flows[change.flow_id] = replace(flow, kind=change.kind)
        self.book.adjustments[change.id] = correction_fingerprint(change)
        return self._finished(change, booking)

    def _advance(self, fill: Fill) -> None:
        totals = self.book.symbols[fill.symbol]
        cursor = advance(totals.cursors.get(fill.execution), fill)
        self.book.symbols[fill.symbol] = replace(totals, cursors={**totals.cursors, fill.execution: cursor})

    def _mark(self, rates: dict[str, Decimal], time_us: int) -> None:
        for asset, rate in rates.items():
            known = self.book.marks.get(asset)
            if asset != self.book.reporting and (known is None or time_us >= known.time_us):
                self.book.marks[asset] = Mark(rate, time_us)

    def _finished(self, event: Event, booking: Booking) -> Booked:
        self._touched |= dict.fromkeys(booking.touched)
        return Booked(
            sequence=self.book.sequence,
            event=event,
            entries=tuple(booking.entries),
            closed=tuple(booking.closed),
            warnings=tuple(booking.warnings),
        )

    def _plain(self, event: Event) -> Booked:
        return Booked(sequence=self.book.sequence, event=event)
