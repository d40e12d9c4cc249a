"""Rows of the histories under `/sapi` become movements: which asset changed, by how much, when, and why.

Field names, statuses and units as in Binance's documentation of its wallet, Convert, Simple Earn and rebate endpoints.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from infra.binance.times import epoch_us
from portfolio.events import FlowKind
from portfolio.money import ZERO, checked, exact_arithmetic, plain
from portfolio.reconciliation import EARN_PREFIX

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND_US = 1_000
_SECOND_US = 1_000_000
_SPOT_WALLET = 0
_CREDITED = frozenset({1, 6})
"""Statuses of a deposit that has reached the balance: success, and credited but not yet free to withdraw."""
_RETURNED = frozenset({1, 3, 5})
"""Statuses of a withdrawal whose amount and fee came back: cancelled, rejected, failed."""


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one balance, as a history tells of it."""

    id: str
    """Names the row and the part of it, always in the same way: `withdrawal:7`, `withdrawal:7:returned`."""
    operation: str
    """What the parts of one operation share."""
    asset: str
    quantity: Decimal
    """Positive: came in."""
    kind: FlowKind
    earliest_us: int
    """The balance did not change before this time, nor after `latest_us`; epoch microseconds."""
    latest_us: int

    @property
    def time_us(self) -> int:
        """When to book it: what comes in as early, what goes out as late as it can have been.

        So nothing looks as if it had been spent before it was there.
        """
        return self.earliest_us if self.quantity > ZERO else self.latest_us


Decode = Callable[[Sequence[object], int], Iterator[Movement]]
"""Rows of one answer, and the time until which was asked, to movements."""


class _Deposit(msgspec.Struct, rename="camel"):
    id: str
    amount: Decimal
    coin: str
    status: int
    insert_time: int
    complete_time: int | None = None
    wallet_type: int = _SPOT_WALLET


class _Withdrawal(msgspec.Struct, rename="camel"):
    id: str
    amount: Decimal
    coin: str
    status: int
    apply_time: str
    transaction_fee: Decimal = ZERO
    complete_time: str | None = None
    wallet_type: int = _SPOT_WALLET


class _Transfer(msgspec.Struct, rename="camel"):
    asset: str
    amount: Decimal
    type: str
    status: str
    tran_id: int
    timestamp: int


class _DribbletPart(msgspec.Struct, rename="camel"):
    from_asset: str
    amount: Decimal
    transfered_amount: Decimal


class _Dribblet(msgspec.Struct, rename="camel"):
    operate_time: int
    trans_id: int
    user_asset_dribblet_details: list[_DribbletPart]
    target_asset: str = "BNB"


class _Dividend(msgspec.Struct, rename="camel"):
    id: int
    amount: Decimal
    asset: str
    div_time: int


class _Conversion(msgspec.Struct, rename="camel"):
    order_id: int
    order_status: str
    from_asset: str
    from_amount: Decimal
    to_asset: str
    to_amount: Decimal
    create_time: int


class _Rebate(msgspec.Struct, rename="camel"):
    asset: str
    type: int
    amount: Decimal
    update_time: int


class _Subscription(msgspec.Struct, rename="camel"):
    asset: str
    amount: Decimal
    time: int
    purchase_id: int | str
    status: str
    amt_from_spot: Decimal | None = None


class _Redemption(msgspec.Struct, rename="camel"):
    asset: str
    amount: Decimal
    time: int
    redeem_id: int | str
    status: str
    dest_account: str = "SPOT"


class _Reward(msgspec.Struct):
    asset: str
    time: int
    type: str = ""
    rewards: Decimal | None = None
    amount: Decimal | None = None
    """What a locked product pays; a flexible one says `rewards`."""


def decode_deposits(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`capital/deposit/hisrec`: what was credited to the spot wallet; pending and rejected ones moved nothing."""
    for row in msgspec.convert(rows, list[_Deposit]):
        if row.status not in _CREDITED or row.wallet_type != _SPOT_WALLET:
            continue
        inserted_us = epoch_us(row.insert_time)
        completed_us = epoch_us(row.complete_time) if row.complete_time else inserted_us
        yield _movement(
            f"deposit:{row.id}", row.coin, row.amount, FlowKind.DEPOSIT, at_us=inserted_us, until_us=completed_us
        )


def decode_withdrawals(rows: Sequence[object], until_us: int) -> Iterator[Movement]:
    """`capital/withdraw/history`: amount and fee leave when it is asked for, and come back when it fails."""
    for row in msgspec.convert(rows, list[_Withdrawal]):
        if row.wallet_type != _SPOT_WALLET:
            continue
        with exact_arithmetic():
            quantity = row.amount + row.transaction_fee
        applied_us = _text_time_us(row.apply_time)
        applied_by_us = applied_us + _SECOND_US - _MILLISECOND_US
        yield _movement(
            f"withdrawal:{row.id}", row.coin, -quantity, FlowKind.WITHDRAWAL, at_us=applied_us, until_us=applied_by_us
        )
        if row.status in _RETURNED:
            back_us = _text_time_us(row.complete_time) if row.complete_time else 0
            yield _movement(
                f"withdrawal:{row.id}:returned",
                row.coin,
                quantity,
                FlowKind.WITHDRAWAL,
                at_us=back_us or applied_us,
                until_us=back_us + _SECOND_US - _MILLISECOND_US if back_us else max(until_us, applied_by_us),
            )


def decode_transfers(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`asset/transfer`: between the spot wallet (`MAIN`) and another one."""
    for row in msgspec.convert(rows, list[_Transfer]):
        if row.status != "CONFIRMED":
            continue
        quantity = -row.amount if row.type.startswith("MAIN_") else row.amount
        yield _movement(
            f"transfer:{row.tran_id}", row.asset, quantity, FlowKind.TRANSFER, at_us=epoch_us(row.timestamp)
        )


def decode_dribblets(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`asset/dribblet`: small balances to BNB; what is received is net of the service charge."""
    for row in msgspec.convert(rows, list[_Dribblet]):
        time_us, operation = epoch_us(row.operate_time), f"dust:{row.trans_id}"
        for number, part in enumerate(row.user_asset_dribblet_details):
            moves = ((part.from_asset, -part.amount, "from"), (row.target_asset, part.transfered_amount, "to"))
            for asset, quantity, side in moves:
                if quantity:
                    yield _movement(operation, asset, quantity, FlowKind.DUST, at_us=time_us, part=f":{number}:{side}")


def decode_dividends(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`asset/assetDividend`: airdrops and other distributions."""
    for row in msgspec.convert(rows, list[_Dividend]):
        if row.amount:
            yield _movement(f"dividend:{row.id}", row.asset, row.amount, FlowKind.AIRDROP, at_us=epoch_us(row.div_time))


def decode_conversions(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`convert/tradeFlow`: one asset goes, another comes."""
    for row in msgspec.convert(rows, list[_Conversion]):
        if row.order_status != "SUCCESS":
            continue
        time_us, operation = epoch_us(row.create_time), f"convert:{row.order_id}"
        for asset, quantity, side in ((row.from_asset, -row.from_amount, "from"), (row.to_asset, row.to_amount, "to")):
            yield _movement(operation, asset, quantity, FlowKind.CONVERT, at_us=time_us, part=f":{side}")


def decode_rebates(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`rebate/taxQuery`: shares of commissions."""
    rebates = msgspec.convert(rows, list[_Rebate])
    names = _numbered(f"{row.update_time}:{row.asset}:{row.type}:{plain(row.amount)}" for row in rebates)
    for row, name in zip(rebates, names, strict=True):
        yield _movement(f"rebate:{name}", row.asset, row.amount, FlowKind.REBATE, at_us=epoch_us(row.update_time))


def decode_flexible_subscriptions(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`simple-earn/flexible/history/subscriptionRecord`: the asset goes, its `LD` twin comes."""
    for row in msgspec.convert(rows, list[_Subscription]):
        quantity = row.amount if row.amt_from_spot is None else row.amt_from_spot
        if row.status == "SUCCESS" and quantity:
            operation, time_us = f"earn-subscription:{row.purchase_id}", epoch_us(row.time)
            yield from _earn(operation, row.asset, -quantity, time_us, twin_quantity=row.amount)


def decode_flexible_redemptions(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`simple-earn/flexible/history/redemptionRecord`: the `LD` twin goes, the asset comes."""
    for row in msgspec.convert(rows, list[_Redemption]):
        if row.dest_account == "SPOT":
            operation, time_us = f"earn-redemption:{row.redeem_id}", epoch_us(row.time)
            yield from _earn(operation, row.asset, row.amount, time_us, twin_quantity=-row.amount)


def decode_locked_subscriptions(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`simple-earn/locked/history/subscriptionRecord`: the asset leaves the spot wallet."""
    for row in msgspec.convert(rows, list[_Subscription]):
        quantity = row.amount if row.amt_from_spot is None else row.amt_from_spot
        if row.status == "SUCCESS" and quantity:
            yield from _earn(f"earn-locked-subscription:{row.purchase_id}", row.asset, -quantity, epoch_us(row.time))


def decode_locked_redemptions(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`simple-earn/locked/history/redemptionRecord`: the asset comes back."""
    for row in msgspec.convert(rows, list[_Redemption]):
        yield from _earn(f"earn-locked-redemption:{row.redeem_id}", row.asset, row.amount, epoch_us(row.time))


def decode_rewards(rows: Sequence[object], _until_us: int) -> Iterator[Movement]:
    """`simple-earn/*/history/rewardsRecord`: what a product pays."""
    rewards = msgspec.convert(rows, list[_Reward])
    amounts = [row.amount if row.rewards is None else row.rewards for row in rewards]
    names = _numbered(
        f"{row.time}:{row.asset}:{row.type}:{plain(amount or ZERO)}"
        for row, amount in zip(rewards, amounts, strict=True)
    )
    for row, amount, name in zip(rewards, amounts, names, strict=True):
        if amount:
            yield _movement(f"reward:{name}", row.asset, amount, FlowKind.REWARD, at_us=epoch_us(row.time))


def _earn(
    operation: str, asset: str, quantity: Decimal, time_us: int, *, twin_quantity: Decimal = ZERO
) -> Iterator[Movement]:
    for name, moved in ((asset, quantity), (EARN_PREFIX + asset, twin_quantity)):
        if moved:
            yield _movement(operation, name, moved, FlowKind.EARN, at_us=time_us, part=f":{name}")


def _movement(
    operation: str,
    asset: str,
    quantity: Decimal,
    kind: FlowKind,
    *,
    at_us: int,
    until_us: int | None = None,
    part: str = "",
) -> Movement:
    # A time in milliseconds stands for all of its thousand microseconds.
    end_us = (at_us if until_us is None else until_us) // _MILLISECOND_US * _MILLISECOND_US + _MILLISECOND_US - 1
    return Movement(
        id=operation + part,
        operation=operation,
        asset=asset,
        quantity=checked(quantity),
        kind=kind,
        earliest_us=at_us,
        latest_us=max(end_us, at_us),
    )


def _numbered(names: Iterable[str]) -> Iterator[str]:
    """Names with the number of their repetition: rows without an id that are equal are told apart by it."""
    seen: Counter[str] = Counter()
    for name in names:
        yield f"{name}:{seen[name]}"
        seen[name] += 1


def _text_time_us(text: str) -> int:
    """`2019-10-12 11:12:02`, UTC, as epoch microseconds."""
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH
    return since // timedelta(microseconds=1)
