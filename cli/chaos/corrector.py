"""A person who corrects an account while it trades and its parts die: cancels trades, sets costs, names flows.

Fills that were cancelled or changed are stated at the end as they first came, so that the account comes back to what
the exchange has. Until then the gateway meets a difference and books it. Costs and kinds of flows stay corrected.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from msgspec.structs import replace

from cli.by_hand import now_us
from infra.errors import RemediableError
from infra.settings import Settings
from portfolio import Book, CostAdjustment, CostTarget, Fill, Reclassification, TradeCorrection, amount
from portfolio.events import FillKey, FlowKind, fill_key
from streams.correcting import Account, ByHand, append, looking_at

_FIRST_S: Final = (2.0, 10.0)
_PAUSE_S: Final = (120.0, 300.0)
"""Each correction of a trade makes its account anew from that trade on: tens of seconds for ten thousand fills."""
_AGAIN_S: Final = 2.0
_COST_MAX: Final = 500
_KINDS: Final = (FlowKind.AIRDROP, FlowKind.REBATE, FlowKind.UNCLASSIFIED)


class Corrector:
    """Corrects one account.

    Attributes:
        account: The account.
        done: How many corrections are on the log.
    """

    def __init__(self, settings: Settings, account: str, dice: random.Random) -> None:
        """Prepare.

        Args:
            settings: How to reach Kafka.
            account: The account.
            dice: Decides what is corrected, and when.
        """
        self.account = account
        self.done = 0
        self._settings = settings
        self._dice = dice
        self._as_they_came: dict[FillKey, Fill] = {}
        self._named = 0

    async def run(self) -> None:
        """Correct now and then, until cancelled."""
        pause_s = _FIRST_S
        while True:
            await asyncio.sleep(self._dice.uniform(*pause_s))
            await _persistently(self._correct)
            pause_s = _PAUSE_S

    async def restore(self) -> None:
        """State each fill that was corrected as it first came."""
        if self._as_they_came:
            await _persistently(self._restore)

    async def _correct(self) -> None:
        async with looking_at(self._settings, self.account, lambda _events: None) as looking:
            account = await looking.now(lambda _fill: True)
            for event in self._corrections(account):
                with contextlib.suppress(RemediableError):  # it cannot be booked: the next one, then
                    await looking.after(event, account)
                    await self._append(account.book, event)

    async def _restore(self) -> None:
        async with looking_at(self._settings, self.account, lambda _events: None) as looking:
            account = await looking.now()
        for key, fill in list(self._as_they_came.items()):
            await self._append(account.book, self._trade_correction(fill, fill))
            del self._as_they_came[key]

    def _corrections(self, account: Account) -> Iterator[ByHand]:
        if account.fills:
            cancelled, dearer = self._dice.choice(account.fills), self._dice.choice(account.fills)
            self._as_they_came |= {fill_key(fill): fill for fill in (cancelled, dearer)}
            yield self._trade_correction(cancelled, None)
            yield self._trade_correction(dearer, replace(dearer, price=dearer.price + 1, quote_quantity=None))
        if account.book.holdings:
            # Of what was sold: it is booked whatever is held by then, and after whatever correction.
            yield CostAdjustment(
                **self._signed(),
                asset=self._dice.choice(sorted(account.book.holdings)),
                amount=amount(str(self._dice.randint(1, _COST_MAX))),
                target=CostTarget.REALIZED,
            )
        if account.book.flows:
            flow_id = self._dice.choice(sorted(account.book.flows))
            yield Reclassification(**self._signed(), flow_id=flow_id, kind=self._dice.choice(_KINDS))

    def _trade_correction(self, fill: Fill, becomes: Fill | None) -> TradeCorrection:
        symbol, execution, trade_id, order_id = fill_key(fill)
        return TradeCorrection(
            **self._signed(),
            symbol=symbol,
            execution=execution,
            trade_id=trade_id,
            order_id=order_id,
            replacement=becomes,
        )

    def _signed(self) -> dict[str, Any]:
        self._named += 1
        return {"id": f"chaos:{self._named}", "author": "chaos", "reason": "chaos", "time_us": now_us()}

    async def _append(self, book: Book, event: ByHand) -> None:
        await append(self._settings, book, event)
        self.done += 1


async def _persistently(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await work()
        except RemediableError:  # Kafka is away
            await asyncio.sleep(_AGAIN_S)
