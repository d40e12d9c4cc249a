"""What the live feed is told of, once it is stored: the same records as on the topics, and trades."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from infra.redis.client import RedisAway
from infra.redis.live import LiveEntry, LiveFeed
from portfolio.alerts.engine import Alert
from portfolio.events import Fill
from portfolio.snapshots import AccountSnapshot, LedgerUpdate
from streams.alerts.records import AlertRecord, encode_alert_record
from streams.records import (
    BalanceRecord,
    PnlRecord,
    PositionRecord,
    TradeRecord,
    balance_records,
    pnl_records,
    position_records,
    trade_records,
)

logger = logging.getLogger(__name__)

_TRADES_MAX: Final = 100
"""Of a larger page, a history that is read, only the newest are told."""


class LiveTeller:
    """Tells the feed, if Redis is there; nobody waits for it or depends on it."""

    def __init__(self, url: str) -> None:
        """Prepare.

        Args:
            url: redis://[:password@]host:port/db.
        """
        self._feed = LiveFeed(url)
        self._is_away = False

    async def close(self) -> None:
        """Close the connections."""
        await self._feed.close()

    async def tell(self, updates: Sequence[LedgerUpdate], snapshots: Sequence[AccountSnapshot]) -> None:
        """Tell what has been stored of the books."""
        await self._add([*_of_updates(updates), *_of_marks(snapshots)])

    async def tell_alerts(self, alerts: Iterable[Alert]) -> None:
        """Tell how alerts are now."""
        await self._add([_of_alert(alert) for alert in alerts])

    async def _add(self, entries: Sequence[LiveEntry]) -> None:
        try:
            await self._feed.add(entries)
        except RedisAway as error:
            if not self._is_away:
                logger.warning("the live feed is not told, Redis is away: %s", error)
            self._is_away = True
        else:
            self._is_away = False


def _of_updates(updates: Iterable[LedgerUpdate]) -> Iterable[LiveEntry]:
    for update in updates:
        if update.is_past:
            continue
        account = update.account
        fills = [booked for booked in update.booked if isinstance(booked.event, Fill)]
        for booked in fills[-_TRADES_MAX:]:
            trade = TradeRecord(account=account, reporting=update.reporting, position=update.position, booked=booked)
            yield LiveEntry("", "trades", account, "", trade_records.encode(trade))
        for position in update.positions:
            data = position_records.encode(PositionRecord(snapshot=position))
            yield LiveEntry("", "positions", account, f"{account}:{position.id}", data)
        for balance in update.balances:
            data = balance_records.encode(BalanceRecord(snapshot=balance))
            yield LiveEntry("", "balances", account, f"{account}:{balance.asset}", data)
        yield _pnl(PnlRecord(cause="book", snapshot=update.snapshot))


def _of_marks(snapshots: Iterable[AccountSnapshot]) -> Iterable[LiveEntry]:
    newest = {snapshot.account: snapshot for snapshot in snapshots}
    return [_pnl(PnlRecord(cause="marks", snapshot=snapshot)) for snapshot in newest.values()]


def _of_alert(alert: Alert) -> LiveEntry:
    data = encode_alert_record(AlertRecord(alert=alert))
    return LiveEntry("", "alerts", alert.account, f"{alert.account}:{alert.id}", data)


def _pnl(record: PnlRecord) -> LiveEntry:
    account = record.snapshot.account
    return LiveEntry("", "pnl", account, account, pnl_records.encode(record))
