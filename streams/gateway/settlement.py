"""What a sync has found: balances, the events that explain them, and what they leave unexplained."""

import heapq
from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from portfolio.events import BalanceReport, Fill, Flow, FlowKind
from portfolio.money import ZERO, exact_arithmetic, plain
from streams.gateway.classification import DIFFERENCE_PREFIX
from streams.gateway.spool import FillSpool


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Balances, and what explains them."""

    account: BalanceReport
    flows: tuple[Flow, ...]
    """Flows of the stream up to the time of the balances, and those that the histories tell of, by time."""
    gaps: dict[str, Decimal]
    """What there is more of (or, negative, less of) than the events lead to, by asset."""
    missing: dict[str, Decimal]
    """What went out without having been there, by asset: it came in before, unseen."""

    @property
    def unexplained(self) -> dict[str, Decimal]:
        """Balances less what was held and what the events added, by asset: trading on does not change it."""
        with exact_arithmetic():
            total = {
                asset: self.gaps.get(asset, ZERO) + self.missing.get(asset, ZERO)
                for asset in sorted({*self.gaps, *self.missing})
            }
        return {asset: quantity for asset, quantity in total.items() if quantity}


def merged(spool: FillSpool, flows: Iterable[Flow], until_us: int) -> Iterator[Fill | Flow]:
    """Fills and flows by time, up to the time of the balances; what is later comes with the stream."""
    until_ms = until_us // 1_000
    fills = (fill for fill in spool.ordered() if fill.time_us // 1_000 <= until_ms)
    return heapq.merge(fills, flows, key=lambda event: event.time_us)


def unexplained_parts(settled: Settled, *, is_first: bool) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """What to book ahead of the events and what after them.

    Ahead comes what was spent without having been there; at the first sync also what the balances have more than the
    events explain: it was held before the log began. So an opening balance is never negative. Where the events explain
    more than there is, something left at an unknown time, and that is booked after them.
    """
    with exact_arithmetic():
        ahead, after = dict(settled.missing), {}
        for asset, gap in settled.gaps.items():
            if is_first and gap > ZERO:
                ahead[asset] = ahead.get(asset, ZERO) + gap
            else:
                after[asset] = gap
    return dict(sorted(ahead.items())), after


def difference(asset: str, quantity: Decimal, time_us: int, place: str) -> Flow:
    """A difference found at a time; the same one found again at that time is the same flow."""
    return Flow(
        time_us=time_us,
        id=f"{DIFFERENCE_PREFIX}{time_us}:{place}:{asset}:{plain(quantity)}",
        asset=asset,
        quantity=quantity,
        kind=FlowKind.UNCLASSIFIED,
    )
