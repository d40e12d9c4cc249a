"""What the topics tell, taken into the views of the accounts, and the views looked at by the rules."""

import logging
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from aiokafka import ConsumerRecord, TopicPartition

from portfolio.alerts.engine import Alert, AlertEngine
from portfolio.alerts.rules import Rule
from portfolio.alerts.views import AccountView
from portfolio.snapshots import AccountSnapshot
from streams.alerts.records import WatchedView
from streams.executions.records import finding_records
from streams.gateway.status import GatewayState
from streams.records import (
    UnreadableRecord,
    balance_records,
    dead_letters,
    journal_records,
    pnl_records,
)
from streams.topics import BALANCES, DEAD_LETTERS, EXECUTION_FINDINGS, JOURNAL, PNL

log = logging.getLogger(__name__)

OBSERVED = (BALANCES, JOURNAL, PNL, EXECUTION_FINDINGS, DEAD_LETTERS)
"""The topics that the watch reads."""

_DIGITS_MAX = 60

NO_ACCOUNT = ""
"""The account of what concerns no single one."""


def place(partition: TopicPartition) -> str:
    """A partition as it is written in what the watch keeps."""
    return f"{partition.topic}:{partition.partition}"


class Watch:
    """The views of all accounts, and the alerts over them.

    Attributes:
        engine: The alerts.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        """Start with nothing known.

        Args:
            rules: The rules by name.
        """
        self.engine = AlertEngine(rules)
        self._watched: dict[str, WatchedView] = {}
        self._changed: set[str] = set()
        self._observers: dict[str, Callable[[ConsumerRecord], None]] = {
            BALANCES.name: self._observe_balance,
            JOURNAL.name: self._observe_journal,
            PNL.name: self._observe_pnl,
            EXECUTION_FINDINGS.name: self._observe_finding,
            DEAD_LETTERS.name: self._observe_dead_letter,
        }

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts that were heard of."""
        return tuple(account for account in self._watched if account != NO_ACCOUNT)

    def restore(self, watched: WatchedView) -> None:
        """Take in a view as it was kept."""
        self._watched[watched.view.account] = watched

    def observe(self, record: ConsumerRecord) -> None:
        """Take in a record of one of the topics; what a view has seen before changes nothing."""
        try:
            self._observers[record.topic](record)
        except UnreadableRecord as error:
            # These topics are written by the service alone; a stranger's record tells nothing about an account.
            log.warning("%s[%d]@%d is left out: %s", record.topic, record.partition, record.offset, error)

    def see_gateway(self, account: str, *, sync_errors: int, time_us: int, state: str, problem: str) -> None:
        """Take in what the gateway tells of an account.

        Args:
            account: The account.
            sync_errors: How many of its connections and syncs have failed since the gateway's start.
            time_us: When it told.
            state: One of `GatewayState`.
            problem: Why it is in that state.
        """
        view = self._view(account)
        before = (view.sync_errors, view.gateway_failure)
        view.see_sync_errors(sync_errors, time_us)
        if state == GatewayState.FAILED:
            view.see_gateway_failed(problem)
        elif state == GatewayState.LIVE:
            view.see_gateway_live()
        if (view.sync_errors, view.gateway_failure) != before:
            self._changed.add(account)

    def see_prices(self, prices: Callable[[str], Mapping[str, Decimal]]) -> None:
        """Take in the prices of another source.

        Args:
            prices: Gives, for a reporting currency, asset to price.
        """
        for account in self.accounts:
            view = self._view(account)
            view.see_prices(prices(view.reporting))

    def evaluate(self, now_us: int) -> list[Alert]:
        """Look at everything; returns the alerts that changed.

        Args:
            now_us: The time, epoch microseconds.
        """
        self._view(NO_ACCOUNT)
        return [alert for watched in self._watched.values() for alert in self.engine.evaluate(watched.view, now_us)]

    def changed_views(self) -> Iterable[WatchedView]:
        """The views that have seen something since the last call."""
        changed, self._changed = self._changed, set()
        return [self._watched[account] for account in sorted(changed)]

    def _view(self, account: str) -> AccountView:
        if account not in self._watched:
            self._watched[account] = WatchedView(view=AccountView(account=account), next_offsets={})
        return self._watched[account].view

    def _unseen(self, account: str, record: ConsumerRecord) -> AccountView | None:
        """The account's view, if the record is new to it; from here on it is not."""
        view, key = self._view(account), f"{record.topic}:{record.partition}"
        next_offsets = self._watched[account].next_offsets
        if record.offset < next_offsets.get(key, 0):
            return None
        next_offsets[key] = record.offset + 1
        self._changed.add(account)
        return view

    def _observe_balance(self, record: ConsumerRecord) -> None:
        snapshot = balance_records.decode(record.value).snapshot
        _require_amounts(snapshot.quantity, snapshot.difference)
        if (view := self._unseen(snapshot.account, record)) is not None:
            view.see_balance(snapshot)

    def _observe_journal(self, record: ConsumerRecord) -> None:
        update = journal_records.decode(record.value).update
        if update.is_past:
            return
        _require_figures(update.snapshot)
        if (view := self._unseen(update.account, record)) is not None:
            view.see_account(update.snapshot, self.engine.periods)
            for booked in update.booked:
                view.see_booked(booked)

    def _observe_pnl(self, record: ConsumerRecord) -> None:
        pnl = pnl_records.decode(record.value)
        _require_figures(pnl.snapshot)
        # What a change of the book made of the account is in the journal, with what was booked.
        if pnl.cause == "marks" and (view := self._unseen(pnl.snapshot.account, record)) is not None:
            view.see_account(pnl.snapshot, self.engine.periods)

    def _observe_finding(self, record: ConsumerRecord) -> None:
        found = finding_records.decode(record.value)
        if (view := self._unseen(found.account, record)) is not None:
            text = f"{found.finding} of {found.symbol}, {found.detail}"
            view.see_finding(found.identity, text if found.cleared_time_us is None else None)

    def _observe_dead_letter(self, record: ConsumerRecord) -> None:
        letter = dead_letters.decode(record.value)
        if (view := self._unseen(NO_ACCOUNT, record)) is not None:
            view.see_dead_letter(letter.topic, letter.time_us)


def _require_figures(snapshot: AccountSnapshot) -> None:
    _require_amounts(snapshot.equity, snapshot.total_pnl, snapshot.drawdown, *snapshot.marks.values())


def _require_amounts(*numbers: Decimal) -> None:
    """One number that is none would make every comparison fail for as long as it is remembered.

    Raises:
        UnreadableRecord: One is not finite, or larger than any sum of amounts.
    """
    for number in numbers:
        if not number.is_finite() or number.adjusted() > _DIGITS_MAX:
            raise UnreadableRecord(f"{number:.6E} is no amount")
