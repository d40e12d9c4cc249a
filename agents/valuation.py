"""The valuation agent: marks in, the pnl of the accounts that they move out.

Every partition of the marks carries every page, and a worker has the books of the same partitions. Nothing is written
to the table: what the marks make of a book is derived, and the next page replaces it. Money stays in exact decimals;
polars rounds the product of two decimals to 38 digits, which loses some here.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from faust.types import StreamT

from infra.settings import load_settings
from infra.telemetry.metrics import VALUATION_PAGES, VALUATION_RECORDS
from portfolio import Book, value_book
from portfolio.snapshots import describe_account
from streams import topics
from streams.app import app, book_view, marks
from streams.dead_letters import dead_letter
from streams.mark_cache import MarkCache
from streams.processing import Claim, Event, process
from streams.publishing import Output, publish
from streams.records import MarksPage, PnlRecord, UnreadableRecord, marks_pages, pnl_records

logger = logging.getLogger(__name__)

STALE_S = 60.0
"""A page that is older has been replaced many times over: it is left out when a worker catches up."""

_CACHING_PARTITION = 0


class _Told(NamedTuple):
    """What was last published of an account."""

    at_s: float
    marks: Mapping[str, Decimal]
    stale: Mapping[str, int]


class Valuer:
    """Decides which accounts a page of marks moves, and values those.

    A gateway that follows some of the accounts publishes the marks of what those hold. So the newest mark of each asset
    is kept over the pages: a page with some of an account's assets leaves the others where they are.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._told: dict[str, _Told] = {}
        self._newest: defaultdict[str, dict[str, Decimal]] = defaultdict(dict)
        self._newest_time_us = 0
        self._stale: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def newest(self, reporting: str) -> tuple[Mapping[str, Decimal], int]:
        """The newest marks in a reporting currency, and the time of the newest page; zero before the first."""
        return self._newest.get(reporting, {}), self._newest_time_us

    def value(self, books: Mapping[str, Book], page: MarksPage, now_s: float) -> list[PnlRecord]:
        """The pnl of each account whose holdings the page moves, at most one in an interval.

        Args:
            books: The accounts to look at.
            page: The marks.
            now_s: A monotonic time.
        """
        self._take(page)
        records = []
        for account, book in books.items():
            rates, dates = self._newest[book.reporting], self._stale[book.reporting]
            told = self._told.get(account)
            if told is not None and now_s - told.at_s < self._interval_s:
                continue
            held = {asset: rates[asset] for asset in book.holdings if asset in rates and asset != book.reporting}
            stale = {asset: dates[asset] for asset in book.holdings if asset in dates}
            if told is None and not held and not stale:
                continue
            if told is not None and told.marks == held and told.stale == stale:
                continue
            self._told[account] = _Told(now_s, held, stale)
            snapshot = describe_account(book, value_book(book, held), valued_time_us=page.time_us)
            records.append(PnlRecord(cause="marks", snapshot=snapshot, stale_marks=stale))
        return records

    def _take(self, page: MarksPage) -> None:
        """Remember the newest mark of each asset, and whether it still moves."""
        for reporting, newer in page.rates.items():
            self._newest[reporting].update(newer)
            for asset in newer:
                self._stale[reporting].pop(asset, None)
        for reporting, dates in page.stale.items():
            self._stale[reporting].update(dates)
        self._newest_time_us = max(self._newest_time_us, page.time_us)


_settings = load_settings()
valuer = Valuer(_settings.pnl_interval_s)
mark_cache = MarkCache(_settings.redis_dsn)


@app.agent(marks, name="valuation")
async def valuation(stream: StreamT[bytes]) -> None:
    """Publish what the marks make of the accounts."""
    await process(app, stream, value_accounts)


async def value_accounts(event: Event) -> None:
    """Value the accounts of one partition at one page of marks."""
    claim = Claim(app, event)
    claim.begin()
    message = event.message
    if time.time() - message.timestamp > STALE_S:
        VALUATION_PAGES.labels("stale").inc()
        event.ack()
        return
    try:
        page = marks_pages.decode(message.value)
    except UnreadableRecord as error:
        await publish(app, [dead_letter(event, str(error))], claim)
        VALUATION_PAGES.labels("unreadable").inc()
        event.ack()
        return
    if message.partition == _CACHING_PARTITION:
        await mark_cache.put(page)
    records = valuer.value(book_view.of_partition(message.partition), page, time.monotonic())
    outputs = [
        Output(topics.PNL.name, record.snapshot.account.encode(), pnl_records.encode(record), message.partition)
        for record in records
    ]
    await publish(app, outputs, claim)
    VALUATION_PAGES.labels("valued").inc()
    VALUATION_RECORDS.inc(len(records))
    event.ack()
