"""The flows of one account: what the exchange's histories tell of them, and what of that is in the log.

Nothing is kept besides the log: a movement that a flow was booked from gives its id to the flow, one that names an
unclassified flow gives it to the reclassification, and both are in the book. So where to go on follows from the log.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal

from infra.binance.histories import HistoriesRead, read_histories
from infra.binance.history_rows import Movement
from infra.binance.rest import BinanceRest
from portfolio.events import Flow, FlowKind, Reclassification
from portfolio.money import ZERO
from streams.gateway.classification import Match, Unclassified, explain, match_flows
from streams.gateway.log import AccountLog
from streams.gateway.published import Published, reclassification_id

log = logging.getLogger(__name__)

_DAY_US = 86_400_000_000
_MINUTE_US = 60_000_000
_PENDING_AGE_FIRST_US, _PENDING_AGE_MAX_US = 90 * _DAY_US, 7 * _DAY_US
"""Up to which age a flow without a kind is looked for: at the first reading, and later."""
_FIRST_AGE_US = 90 * _DAY_US
_DOUBT_US = 2 * _MINUTE_US
"""How long the log may have seemed to go on while the stream was silent already."""

_READ_TIMEOUT_S = 45.0
_NEVER_S = 1e9
_CLOCK_DOUBT_US = 600_000_000
"""The exchange's clock is measured now and then, and may jump: what is newer than it seems is wanted too."""

_TWIN_US = _MINUTE_US
_AUTHOR = "gateway"


class FlowHistories:
    """What the histories told, kept from one session to the next.

    Attributes:
        problems: Why histories could not be read, by name; empty when the last reading had all.
        read_us: Until when the histories were last read; zero before. Epoch microseconds.
    """

    def __init__(self, rest: BinanceRest) -> None:
        """Prepare; nothing is read yet.

        Args:
            rest: A client with the account's key.
        """
        self.problems: Mapping[str, str] = {}
        self.read_us = 0
        self._rest = rest
        self._read_s = -_NEVER_S
        self._movements: dict[str, Movement] = {}
        self._covered_us = 0

    @property
    def age_us(self) -> int:
        """How long ago the histories were read."""
        return int((time.monotonic() - self._read_s) * 1_000_000)

    def was_read_since(self, moment_s: float) -> bool:
        """Whether the last reading began after a moment; monotonic seconds."""
        return self._read_s >= moment_s

    @property
    def assets(self) -> set[str]:
        """The assets that the histories name."""
        return {movement.asset for movement in self._movements.values()}

    async def read(self, published: Published, *, first_trade_us: int | None = None) -> None:
        """Read what is new, and what may still name a flow of the log.

        Args:
            published: What the log says.
            first_trade_us: At the first sync, when the account's oldest trade was; what was traded came in before.
        """
        now_us, self._read_s = self._rest.exchange_time_us(), time.monotonic()
        if published.is_empty:
            since_us = min(now_us, first_trade_us or now_us) - _FIRST_AGE_US
            self._take(await read_histories(self._rest, since_us, now_us + _CLOCK_DOUBT_US, is_open_ended=True), now_us)
            self._drop_twins()
            return
        since_us = min(self._covered_us or published.last_time_us, self._oldest_pending_us(published, now_us))
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                found = await read_histories(self._rest, since_us - _CLOCK_DOUBT_US, now_us + _CLOCK_DOUBT_US)
        except TimeoutError:
            found = HistoriesRead({}, {"all": f"no answer within {_READ_TIMEOUT_S:.0f} s"})
        self._take(found, now_us)

    def reclassifications(self, published: Published, more: Iterable[Flow] = ()) -> list[Reclassification]:
        """The kinds of unclassified flows that are known now.

        Args:
            published: What the log says.
            more: Flows that are about to be published.
        """
        pending = [*published.unclassified.values(), *(_unclassified(flow) for flow in more)]
        now_us = self._rest.exchange_time_us()
        return [_reclassification(match, now_us) for match in match_flows(pending, self._unused(published))]

    async def name_flows(self, account_log: AccountLog) -> None:
        """Publish the kinds that are known now; what a person has said of a flow meanwhile counts more.

        Raises:
            LogUnavailable: Kafka did not give or take a record.
        """
        if self.reclassifications(account_log.published):
            await account_log.note_corrections()
            await account_log.publish(self.reclassifications(account_log.published))

    def explaining(
        self, published: Published, gaps: Mapping[str, Decimal], until_us: int, more: Iterable[Flow] = ()
    ) -> list[Flow]:
        """The flows that happened while nobody listened, with their kind, id and time.

        Args:
            published: What the log says.
            gaps: What the exchange has more of (or, negative, less of) than trades and flows explain, by asset.
            until_us: Time of the balances that the gaps were found with.
            more: Flows of the stream that are about to be published; movements that they are, are not booked again.
        """
        taken = {
            match.movement.id
            for match in match_flows(
                [*published.unclassified.values(), *map(_unclassified, more)], self._unused(published)
            )
        }
        unused = [each for each in self._unused(published) if each.id not in taken and each.earliest_us <= until_us]
        covered_us = 0 if published.is_empty else (self._covered_us or published.last_time_us)
        flows: list[Flow] = []
        for asset in sorted({movement.asset for movement in unused}):
            mine = [each for each in unused if each.asset == asset]
            likely = [each for each in mine if each.latest_us >= covered_us - _DOUBT_US]
            possible = [each for each in mine if each.latest_us < covered_us - _DOUBT_US]
            # Before the first event nothing says what was there, so no gap can decide.
            chosen = likely if published.is_empty else explain(gaps.get(asset, ZERO), likely, possible)
            if chosen is None:
                log.debug("the histories of %s do not add up to what its balance shows", asset)
                chosen = likely
            flows += [_flow(each, covered_us, until_us) for each in chosen]
        return sorted(flows, key=lambda flow: (flow.time_us, flow.id))

    def covered(self) -> None:
        """The log agrees with the exchange, up to what the histories were read until."""
        if not self.problems:
            self._covered_us = self.read_us

    def _take(self, found: HistoriesRead, now_us: int) -> None:
        if found.problems and found.problems != self.problems:
            log.warning(
                "%d histories cannot be read, flows stay unclassified: %s",
                len(found.problems),
                next(iter(found.problems.values())),
            )
        self.problems = found.problems
        self.read_us = now_us
        # What could not be read again is still what it was.
        self._movements = {**self._movements, **found.movements} if found.problems else dict(found.movements)

    def _drop_twins(self) -> None:
        """A reward of Earn may be listed as a dividend too; without balances of the past, it counts once."""
        rewards = [each for each in self._movements.values() if each.kind is FlowKind.REWARD]
        twins = {
            each.id
            for each in self._movements.values()
            if each.kind is FlowKind.AIRDROP
            and any(
                (each.asset, each.quantity) == (reward.asset, reward.quantity)
                and abs(each.time_us - reward.time_us) <= _TWIN_US
                for reward in rewards
            )
        }
        self._movements = {name: each for name, each in self._movements.items() if name not in twins}

    def _unused(self, published: Published) -> list[Movement]:
        return [each for each in self._movements.values() if not published.has_movement(each.id)]

    def _oldest_pending_us(self, published: Published, now_us: int) -> int:
        age_us = _PENDING_AGE_MAX_US if self.read_us else _PENDING_AGE_FIRST_US
        times_us = (flow.time_us for flow in published.unclassified.values())
        return min((time_us for time_us in times_us if time_us > now_us - age_us), default=now_us)


def _unclassified(flow: Flow) -> Unclassified:
    return Unclassified(flow.id, flow.time_us, flow.asset, flow.quantity)


def _reclassification(match: Match, now_us: int) -> Reclassification:
    return Reclassification(
        time_us=now_us,
        id=reclassification_id(match.movement.id),
        flow_id=match.flow.id,
        kind=match.movement.kind,
        author=_AUTHOR,
        reason=f"{match.movement.id} of the exchange's histories",
    )


def _flow(movement: Movement, covered_us: int, until_us: int) -> Flow:
    # What the balance did not show when the log last agreed with it happened after that.
    time_us = min(max(movement.time_us, covered_us), max(until_us, movement.earliest_us))
    return Flow(time_us=time_us, id=movement.id, asset=movement.asset, quantity=movement.quantity, kind=movement.kind)
