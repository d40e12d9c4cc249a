"""What happens to an account besides trades: deposits, withdrawals, transfers, conversions, dust, Earn, income, busts.

An operation has an id and, where Binance gives it one, a life of statuses; its flows are what it does to balances.
The histories under `/sapi` are views of operations, the books show flows.
"""

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

import msgspec

from infra.exchange.decimals import ZERO, truncate
from infra.exchange.engine import Exchange
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.ledger import EARN_PREFIX, Account
from infra.exchange.records import DustPart, Flow, FlowKind, Operation, OperationStatus, Side

_DUST_CHARGE = Decimal("0.02")
_BNB = "BNB"
_FLEXIBLE, _LOCKED = "flexible", "locked"
_REWARD_TYPES = ("BONUS", "REALTIME", "REWARDS")
_NEXT_STATUSES = {
    (FlowKind.DEPOSIT, OperationStatus.PENDING): {OperationStatus.COMPLETED, OperationStatus.REJECTED},
    (FlowKind.WITHDRAWAL, OperationStatus.APPLIED): {
        OperationStatus.PROCESSING,
        OperationStatus.COMPLETED,
        OperationStatus.REJECTED,
    },
    (FlowKind.WITHDRAWAL, OperationStatus.PROCESSING): {OperationStatus.COMPLETED, OperationStatus.REJECTED},
}


class OperationRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What the operator asks for; which fields matter depends on the operation. Amounts are decimal texts."""

    account: str
    asset: str = ""
    amount: str = ""
    fee: str = ""
    status: OperationStatus = OperationStatus.COMPLETED
    type: str = ""
    to_asset: str = ""
    to_amount: str = ""
    assets: tuple[str, ...] = ()
    product: str = _FLEXIBLE
    info: str = ""
    symbol: str = ""
    trade_id: int = 0


class _Plan(NamedTuple):
    """An operation and the signed amounts that it moves."""

    operation: Operation
    movements: list[tuple[str, Decimal]]


class Operations:
    """Lets operations happen.

    Args:
        exchange: Where.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._planners: dict[str, Callable[[Account, OperationRequest], _Plan]] = {
            "deposit": self._deposit,
            "withdraw": self._withdraw,
            "transfer": self._transfer,
            "convert": self._convert,
            "dust": self._dust,
            "airdrop": self._airdrop,
            "earn/subscribe": self._subscribe,
            "earn/redeem": self._redeem,
            "earn/reward": self._reward,
            "rebate": self._rebate,
            "bust": self._bust,
        }
        self.names = tuple(self._planners)

    def perform(self, name: str, request: OperationRequest) -> tuple[Operation, list[Flow]]:
        """Let an operation happen, or begin.

        Raises:
            ExchangeError: -1130 and what is not valid, or -2010, the account has too little.
        """
        account = self._exchange.ledger.accounts.get(request.account)
        if account is None:
            raise _invalid("account")
        plan = self._planners[name](account, request)
        return self._exchange.operate(account, plan.operation, plan.movements)

    def advance(self, operation_id: int, status: OperationStatus) -> tuple[Operation, list[Flow]]:
        """Give a deposit or a withdrawal its next status.

        Raises:
            ExchangeError: -1130, there is no such operation or it cannot get that status.
        """
        account, operation = self._find(operation_id)
        if status not in _NEXT_STATUSES.get((operation.kind, operation.status), set()):
            raise _invalid("status")
        movements: list[tuple[str, Decimal]] = []
        if operation.kind is FlowKind.DEPOSIT and status is OperationStatus.COMPLETED:
            movements = [(operation.asset, operation.amount)]
        elif operation.kind is FlowKind.WITHDRAWAL and status is OperationStatus.REJECTED:
            movements = [(operation.asset, operation.amount + operation.fee)]
        return self._exchange.operate(account, msgspec.structs.replace(operation, status=status), movements)

    def _find(self, operation_id: int) -> tuple[Account, Operation]:
        for account in self._exchange.ledger.accounts.values():
            if operation_id in account.operations:
                return account, account.operations[operation_id]
        raise _invalid("id")

    # -- each operation

    def _deposit(self, account: Account, request: OperationRequest) -> _Plan:
        operation = self._simple(account, request, FlowKind.DEPOSIT)
        _check_status(request.status, OperationStatus.PENDING)
        completed = request.status is OperationStatus.COMPLETED
        return _Plan(operation, [(operation.asset, operation.amount)] if completed else [])

    def _withdraw(self, account: Account, request: OperationRequest) -> _Plan:
        operation = self._simple(account, request, FlowKind.WITHDRAWAL)
        _check_status(request.status, OperationStatus.APPLIED, OperationStatus.PROCESSING)
        return _Plan(operation, [(operation.asset, -operation.amount - operation.fee)])

    def _transfer(self, account: Account, request: OperationRequest) -> _Plan:
        kind = request.type or "MAIN_UMFUTURE"
        operation = self._simple(account, request, FlowKind.TRANSFER, variant=kind)
        if kind.startswith("MAIN_") == kind.endswith("_MAIN"):
            raise _invalid("type")
        sign = -1 if kind.startswith("MAIN_") else 1
        return _Plan(operation, [(operation.asset, sign * operation.amount)])

    def _convert(self, account: Account, request: OperationRequest) -> _Plan:
        to_asset = self._listed(request.to_asset, "to_asset")
        operation = self._simple(account, request, FlowKind.CONVERT, to_asset=to_asset)
        if to_asset == operation.asset:
            raise _invalid("to_asset")
        price = self._exchange.price_in_usdt(operation.asset) / self._exchange.price_in_usdt(to_asset)
        to_amount = _amount(request.to_amount, "to_amount") if request.to_amount else truncate(operation.amount * price)
        converted = msgspec.structs.replace(operation, to_amount=to_amount)
        return _Plan(converted, [(operation.asset, -operation.amount), (to_asset, to_amount)])

    def _dust(self, account: Account, request: OperationRequest) -> _Plan:
        parts = tuple(self._dust_part(account, asset) for asset in dict.fromkeys(request.assets))
        if not parts:
            raise _invalid("assets")
        received = sum((part.received for part in parts), ZERO)
        charge = sum((part.charge for part in parts), ZERO)
        operation = _draft(account, FlowKind.DUST, _BNB, received, fee=charge, parts=parts)
        return _Plan(operation, [*((part.asset, -part.amount) for part in parts), (_BNB, received)])

    def _dust_part(self, account: Account, asset: str) -> DustPart:
        self._listed(asset, "assets")
        amount = account.free(asset)
        if asset == _BNB or not amount:
            raise _invalid("assets")
        worth = truncate(amount * self._exchange.price_in_usdt(asset) / self._exchange.price_in_usdt(_BNB))
        charge = truncate(worth * _DUST_CHARGE)
        return DustPart(asset, amount, worth - charge, charge)

    def _airdrop(self, account: Account, request: OperationRequest) -> _Plan:
        operation = self._simple(account, request, FlowKind.AIRDROP, variant=request.info or "Airdrop")
        return _Plan(operation, [(operation.asset, operation.amount)])

    def _subscribe(self, account: Account, request: OperationRequest) -> _Plan:
        return self._earn(account, request, "subscription", -1)

    def _redeem(self, account: Account, request: OperationRequest) -> _Plan:
        return self._earn(account, request, "redemption", 1)

    def _earn(self, account: Account, request: OperationRequest, what: str, sign: int) -> _Plan:
        product = _one_of(request.product, (_FLEXIBLE, _LOCKED), "product")
        operation = self._simple(account, request, FlowKind.EARN, variant=f"{product} {what}")
        movements = [(operation.asset, sign * operation.amount)]
        if product == _FLEXIBLE:
            # What a flexible product holds shows up in the spot wallet, as LDUSDT for USDT; a locked one does not.
            movements.append((EARN_PREFIX + operation.asset, -sign * operation.amount))
        return _Plan(operation, movements)

    def _reward(self, account: Account, request: OperationRequest) -> _Plan:
        product = _one_of(request.product, (_FLEXIBLE, _LOCKED), "product")
        kind = _one_of(request.type or "REALTIME", _REWARD_TYPES, "type")
        operation = self._simple(account, request, FlowKind.REWARD, variant=f"{product} {kind}")
        return _Plan(operation, [(operation.asset, operation.amount)])

    def _rebate(self, account: Account, request: OperationRequest) -> _Plan:
        kind = _one_of(request.type or "1", ("1", "2"), "type")
        operation = self._simple(account, request, FlowKind.REBATE, variant=kind)
        return _Plan(operation, [(operation.asset, operation.amount)])

    def _bust(self, account: Account, request: OperationRequest) -> _Plan:
        following = account.trades_from(request.symbol, request.trade_id)
        found = [each for each in following[:2] if each.trade_id == request.trade_id]  # two: a trade with oneself
        trade = f"{request.symbol} {request.trade_id}"
        busted = {each.variant for each in account.operations.values() if each.kind is FlowKind.BUST}
        if not found or trade in busted:
            raise _invalid("trade_id")
        rules = self._exchange.listing[request.symbol]
        back: defaultdict[str, Decimal] = defaultdict(Decimal)
        for fill in found:
            sign = -1 if account.orders[fill.order_id].placed.side is Side.BUY else 1
            back[rules.base] += sign * fill.quantity
            back[rules.quote] -= sign * fill.quote_quantity
            back[fill.commission_asset] += fill.commission
        operation = _draft(account, FlowKind.BUST, rules.base, found[0].quantity, variant=trade)
        return _Plan(operation, [(asset, quantity) for asset, quantity in back.items() if quantity])

    def _simple(
        self, account: Account, request: OperationRequest, kind: FlowKind, *, variant: str = "", to_asset: str = ""
    ) -> Operation:
        asset, amount = self._listed(request.asset, "asset"), _amount(request.amount, "amount")
        fee = _amount(request.fee, "fee") if request.fee else ZERO
        operation = _draft(account, kind, asset, amount, fee=fee, variant=variant, status=request.status)
        return msgspec.structs.replace(operation, to_asset=to_asset)

    def _listed(self, asset: str, name: str) -> str:
        if asset not in self._exchange.listing.assets:
            raise _invalid(name)
        return asset


def _draft(
    account: Account,
    kind: FlowKind,
    asset: str,
    amount: Decimal,
    *,
    fee: Decimal = ZERO,
    variant: str = "",
    status: OperationStatus = OperationStatus.COMPLETED,
    parts: tuple[DustPart, ...] = (),
) -> Operation:
    return Operation(
        account=account.name,
        kind=kind,
        asset=asset,
        amount=amount,
        status=status,
        fee=fee,
        variant=variant,
        parts=parts,
    )


def _amount(text: str, name: str) -> Decimal:
    try:
        amount = Decimal(text)
    except ArithmeticError:
        raise _invalid(name) from None
    if not amount.is_finite() or amount <= ZERO or amount != truncate(amount):
        raise _invalid(name)
    return amount


def _one_of(text: str, choices: tuple[str, ...], name: str) -> str:
    if text not in choices:
        raise _invalid(name)
    return text


def _check_status(status: OperationStatus, *beginnings: OperationStatus) -> None:
    if status not in {*beginnings, OperationStatus.COMPLETED}:
        raise _invalid("status")


def _invalid(name: str) -> ExchangeError:
    return ExchangeError(Refusal.BAD_PARAMETER, name)
