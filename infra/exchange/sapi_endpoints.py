"""The histories under `/sapi`: everything that moved a balance and was no trade.

Shapes, limits and weights as in Binance's documentation of its wallet, Convert, Simple Earn and rebate endpoints.
These endpoints have weights of their own, apart from those of `/api` and from each other.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from infra.exchange.decimals import plain, wire
from infra.exchange.endpoints import Call, Endpoint, WeightScope
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.records import FlowKind, Operation, OperationStatus

_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEPOSIT_STATUS = {OperationStatus.PENDING: 0, OperationStatus.COMPLETED: 1, OperationStatus.REJECTED: 2}
_WITHDRAWAL_STATUS = {
    OperationStatus.APPLIED: 2,
    OperationStatus.REJECTED: 3,
    OperationStatus.PROCESSING: 4,
    OperationStatus.COMPLETED: 6,
}
_DRIBBLETS = 100
_REBATES_PER_PAGE = 500
_LOCK_DAYS = 30

Row = dict[str, object]
View = Callable[[Call, Operation], Row]


def _operations(call: Call, kind: FlowKind, start_us: int, end_us: int, variant: str = "") -> list[Operation]:
    """Operations that began within a period, the latest first."""
    found = [
        each
        for each in call.account.operations.values()
        if each.kind is kind and each.variant.startswith(variant) and start_us <= each.begin_time_us <= end_us
    ]
    return sorted(found, key=lambda each: (each.begin_time_us, each.operation_id), reverse=True)


def _period(call: Call, *, default_days: int, longest_days: int) -> tuple[int, int]:
    """The period asked for; an open end lies `default_days` from the other one, no end at all means until now."""
    start_us, end_us = call.parameters.time_us("startTime"), call.parameters.time_us("endTime")
    if end_us is None:
        end_us = call.exchange.now_us() if start_us is None else start_us + default_days * _DAY_US
    elif end_us % 1000 == 0:
        # A whole millisecond means all of it: what happened has microseconds that its sender does not see.
        end_us += 999
    if start_us is None:
        start_us = end_us - default_days * _DAY_US
    if end_us - start_us > longest_days * _DAY_US + 999 or start_us > end_us:
        raise ExchangeError(Refusal.PERIOD_TOO_LONG, longest_days)
    return start_us, end_us


def _matching(call: Call, operations: list[Operation], name: str) -> list[Operation]:
    wanted = call.parameters.text(name)
    return [each for each in operations if wanted in {None, each.asset}]


def _page(call: Call, operations: list[Operation]) -> list[Operation]:
    current, size = call.parameters.integer("current") or 1, min(call.parameters.integer("size") or 10, 100)
    return operations[(current - 1) * size : current * size]


def _slice(call: Call, operations: list[Operation]) -> list[Operation]:
    offset = call.parameters.integer("offset") or 0
    return operations[offset : offset + call.parameters.limit(1000, 1000)]


def _transaction_id(operation: Operation) -> str:
    return f"simulated-{operation.operation_id}"


def _text_time(time_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%d %H:%M:%S")


# -- wallet


def _deposits(call: Call) -> object:
    period = _period(call, default_days=90, longest_days=90)
    found = _matching(call, _operations(call, FlowKind.DEPOSIT, *period), "coin")
    status = call.parameters.integer("status")
    return [
        {
            "id": str(each.operation_id),
            "amount": plain(each.amount),
            "coin": each.asset,
            "network": each.asset,
            "status": _DEPOSIT_STATUS[each.status],
            "address": "simulated",
            "addressTag": "",
            "txId": _transaction_id(each),
            "insertTime": call.unit.stamp(each.begin_time_us),
            "completeTime": call.unit.stamp(each.time_us) if each.status is OperationStatus.COMPLETED else None,
            "transferType": 0,
            "confirmTimes": "0/1" if each.status is OperationStatus.PENDING else "1/1",
            "unlockConfirm": 0,
            "walletType": 0,
        }
        for each in _slice(call, [each for each in found if status in {None, _DEPOSIT_STATUS[each.status]}])
    ]


def _withdrawals(call: Call) -> object:
    period = _period(call, default_days=90, longest_days=90)
    found = _matching(call, _operations(call, FlowKind.WITHDRAWAL, *period), "coin")
    status = call.parameters.integer("status")
    return [
        _withdrawal(each)
        for each in _slice(call, [each for each in found if status in {None, _WITHDRAWAL_STATUS[each.status]}])
    ]


def _withdrawal(operation: Operation) -> Row:
    row: Row = {
        "id": str(operation.operation_id),
        "amount": plain(operation.amount),
        "transactionFee": plain(operation.fee),
        "coin": operation.asset,
        "status": _WITHDRAWAL_STATUS[operation.status],
        "address": "simulated",
        "txId": _transaction_id(operation) if operation.status is OperationStatus.COMPLETED else "",
        "applyTime": _text_time(operation.begin_time_us),
        "network": operation.asset,
        "transferType": 0,
        "info": "",
        "confirmNo": 1 if operation.status is OperationStatus.COMPLETED else 0,
        "walletType": 0,
        "txKey": "",
    }
    if operation.status is OperationStatus.COMPLETED:
        row["completeTime"] = _text_time(operation.time_us)
    return row


def _transfers(call: Call) -> object:
    kind = call.parameters.required("type")
    found = _operations(call, FlowKind.TRANSFER, *_period(call, default_days=7, longest_days=180), variant=kind)
    rows = [
        {
            "asset": each.asset,
            "amount": plain(each.amount),
            "type": each.variant,
            "status": "CONFIRMED",
            "tranId": each.operation_id,
            "timestamp": call.unit.stamp(each.begin_time_us),
        }
        for each in _page(call, found)
    ]
    return {"total": len(found), "rows": rows}


def _dribblets(call: Call) -> object:
    found = _operations(call, FlowKind.DUST, *_period(call, default_days=90, longest_days=90))[:_DRIBBLETS]
    return {"total": len(found), "userAssetDribblets": [_dribblet(call, each) for each in found]}


def _dribblet(call: Call, operation: Operation) -> Row:
    time = call.unit.stamp(operation.begin_time_us)
    return {
        "operateTime": time,
        "totalTransferedAmount": plain(operation.amount),
        "totalServiceChargeAmount": plain(operation.fee),
        "transId": operation.operation_id,
        "userAssetDribbletDetails": [
            {
                "transId": operation.operation_id,
                "serviceChargeAmount": plain(part.charge),
                "amount": plain(part.amount),
                "operateTime": time,
                "transferedAmount": plain(part.received),
                "fromAsset": part.asset,
            }
            for part in operation.parts
        ],
    }


def _dividends(call: Call) -> object:
    period = _period(call, default_days=180, longest_days=180)
    found = _matching(call, _operations(call, FlowKind.AIRDROP, *period), "asset")
    rows = [
        {
            "id": each.operation_id,
            "amount": wire(each.amount),
            "asset": each.asset,
            "divTime": call.unit.stamp(each.begin_time_us),
            "enInfo": each.variant,
            "tranId": each.operation_id,
        }
        for each in found[: call.parameters.limit(20, 500)]
    ]
    return {"rows": rows, "total": len(found)}


def _restrictions(call: Call) -> object:
    may_trade = call.key is not None and call.key.may_trade
    may_withdraw = call.key is not None and call.key.may_withdraw
    return {
        "ipRestrict": False,
        "createTime": call.unit.stamp(min((flow.time_us for flow in call.account.flows), default=0)),
        "enableReading": True,
        "enableWithdrawals": may_withdraw,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enableSpotAndMarginTrading": may_trade,
        "enablePortfolioMarginTrading": False,
    }


# -- Convert and rebates


def _conversions(call: Call) -> object:
    for name in ("startTime", "endTime"):
        call.parameters.required(name)
    start_us, end_us = _period(call, default_days=30, longest_days=30)
    found, limit = _operations(call, FlowKind.CONVERT, start_us, end_us), call.parameters.limit(100, 1000)
    rows = [
        {
            "quoteId": f"simulated-{each.operation_id}",
            "orderId": each.operation_id,
            "orderStatus": "SUCCESS",
            "fromAsset": each.asset,
            "fromAmount": plain(each.amount),
            "toAsset": each.to_asset,
            "toAmount": plain(each.to_amount),
            "ratio": wire(each.to_amount / each.amount),
            "inverseRatio": wire(each.amount / each.to_amount),
            "createTime": call.unit.stamp(each.begin_time_us),
        }
        for each in found[:limit]
    ]
    return {
        "list": rows,
        "startTime": call.unit.stamp(start_us),
        "endTime": call.unit.stamp(end_us),
        "limit": limit,
        "moreData": len(found) > limit,
    }


def _rebates(call: Call) -> object:
    found = _operations(call, FlowKind.REBATE, *_period(call, default_days=7, longest_days=30))
    page = call.parameters.integer("page") or 1
    rows = [
        {
            "asset": each.asset,
            "type": int(each.variant),
            "amount": plain(each.amount),
            "updateTime": call.unit.stamp(each.begin_time_us),
        }
        for each in found[(page - 1) * _REBATES_PER_PAGE : page * _REBATES_PER_PAGE]
    ]
    pages = -(-len(found) // _REBATES_PER_PAGE)
    data = {"page": page, "totalRecords": len(found), "totalPageNum": pages, "data": rows}
    return {"status": "OK", "type": "GENERAL", "code": "000000000", "data": data}


# -- Simple Earn


def _earn_row(call: Call, operation: Operation) -> Row:
    return {"asset": operation.asset, "time": call.unit.stamp(operation.begin_time_us)}


def _subscription(call: Call, operation: Operation) -> Row:
    return _earn_row(call, operation) | {
        "amount": plain(operation.amount),
        "purchaseId": operation.operation_id,
        "productId": f"{operation.asset}001",
        "type": "NORMAL",
        "sourceAccount": "SPOT",
        "amtFromSpot": plain(operation.amount),
        "amtFromFunding": "0",
        "status": "SUCCESS",
    }


def _redemption(call: Call, operation: Operation) -> Row:
    return _earn_row(call, operation) | {
        "amount": plain(operation.amount),
        "projectId": f"{operation.asset}001",
        "redeemId": operation.operation_id,
        "destAccount": "SPOT",
        "status": "PAID",
    }


def _flexible_reward(call: Call, operation: Operation) -> Row:
    return _earn_row(call, operation) | {
        "rewards": plain(operation.amount),
        "projectId": f"{operation.asset}001",
        "type": operation.variant.partition(" ")[2],
    }


def _locked(view: View) -> View:
    def locked(call: Call, operation: Operation) -> Row:
        position = {"positionId": str(operation.operation_id), "lockPeriod": str(_LOCK_DAYS)}
        return view(call, operation) | position

    return locked


def _locked_redemption(call: Call, operation: Operation) -> Row:
    return _earn_row(call, operation) | {
        "amount": plain(operation.amount),
        "redeemId": operation.operation_id,
        "type": "MATURE",
        "deliverDate": str(call.unit.stamp(operation.begin_time_us)),
        "lossAmount": "0",
        "isComplete": "true",
        "rewardAsset": operation.asset,
        "rewardAmt": "0",
        "status": "PAID",
    }


def _locked_reward(call: Call, operation: Operation) -> Row:
    return _earn_row(call, operation) | {"amount": plain(operation.amount), "type": "Locked Rewards"}


def _earn_history(kind: FlowKind, variant: str, view: View) -> Callable[[Call], object]:
    def history(call: Call) -> object:
        wanted = variant
        if variant == "flexible " and (reward := call.parameters.required("type")) != "ALL":
            wanted = variant + reward
        found = _operations(call, kind, *_period(call, default_days=30, longest_days=90), variant=wanted)
        found = _matching(call, found, "asset")
        return {"rows": [view(call, each) for each in _page(call, found)], "total": len(found)}

    return history


def _endpoint(
    path: str, weight: int, handler: Callable[[Call], object], scope: WeightScope = WeightScope.SAPI_ADDRESS
) -> Endpoint:
    return Endpoint(handler, "GET", f"/sapi/v1/{path}", weight, signed=True, scope=scope)


_EARN = (
    ("flexible/history/subscriptionRecord", FlowKind.EARN, "flexible subscription", _subscription),
    ("flexible/history/redemptionRecord", FlowKind.EARN, "flexible redemption", _redemption),
    ("flexible/history/rewardsRecord", FlowKind.REWARD, "flexible ", _flexible_reward),
    ("locked/history/subscriptionRecord", FlowKind.EARN, "locked subscription", _locked(_subscription)),
    ("locked/history/redemptionRecord", FlowKind.EARN, "locked redemption", _locked(_locked_redemption)),
    ("locked/history/rewardsRecord", FlowKind.REWARD, "locked ", _locked(_locked_reward)),
)
SAPI_ENDPOINTS = (
    _endpoint("capital/deposit/hisrec", 1, _deposits),
    _endpoint("capital/withdraw/history", 18_000, _withdrawals, WeightScope.SAPI_ACCOUNT),
    _endpoint("asset/transfer", 1, _transfers),
    _endpoint("asset/dribblet", 1, _dribblets),
    _endpoint("asset/assetDividend", 10, _dividends),
    _endpoint("account/apiRestrictions", 1, _restrictions),
    _endpoint("convert/tradeFlow", 3000, _conversions, WeightScope.SAPI_ACCOUNT),
    _endpoint("rebate/taxQuery", 12_000, _rebates, WeightScope.SAPI_ACCOUNT),
    *(_endpoint(f"simple-earn/{path}", 150, _earn_history(kind, variant, view)) for path, kind, variant, view in _EARN),
)
