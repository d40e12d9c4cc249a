"""From what was read to what is answered."""

from collections.abc import Sequence

from api import schemas
from infra.postgres.accounts import AccountState
from infra.postgres.comparison import StrategyLine
from infra.postgres.lines import BalanceLine, FeeLine, FillLine, FlowLine, PositionLine, SymbolLine
from infra.postgres.view import log_positions
from portfolio.money import ONE, ZERO, exact_arithmetic
from portfolio.performance import Performance

NO_ACCOUNT_HINT = (
    "No account has arrived yet. `portfolio up` starts the whole pipeline; if it runs, the gateway is still reading "
    "the account's history, see /admin/status."
)


def overview(
    states: Sequence[AccountState],
    lines: Sequence[BalanceLine],
    *,
    reporting: str,
    active_positions: int,
    warnings: int,
) -> schemas.Overview:
    """The accounts, added up."""
    with exact_arithmetic():
        realized = sum((state.realized for state in states), ZERO)
        unrealized = sum((line.unrealized for line in lines), ZERO)
        money = {
            "equity": sum((line.value for line in lines), ZERO),
            "net_flows": sum((state.net_flows for state in states), ZERO),
            "total_pnl": realized + unrealized,
            "realized_pnl": realized,
            "unrealized_pnl": unrealized,
            "fees": sum((state.fees for state in states), ZERO),
        }
    only = states[0] if len(states) == 1 else None
    return schemas.Overview(
        accounts=[state.account for state in states],
        reporting=reporting,
        timestamp=max((state.valued_time_us for state in states), default=None),
        last_event=max((state.event_time_us for state in states), default=None),
        sequence=sum(state.sequence for state in states),
        twr=None if only is None else float(only.twr_index - ONE),
        drawdown=None if only is None else float(only.drawdown),
        max_drawdown=None if only is None else float(only.max_drawdown),
        balances=[balance(line) for line in lines],
        active_positions=active_positions,
        differences=sum(line.difference != ZERO for line in lines),
        warnings=warnings,
        hint=None if states else NO_ACCOUNT_HINT,
        **money,
    )


def balance(line: BalanceLine) -> schemas.Balance:
    """A balance."""
    return schemas.Balance(
        account=line.account,
        asset=line.asset,
        free=line.free,
        locked=line.locked,
        total=line.total,
        ledger_quantity=line.quantity,
        difference=line.difference,
        difference_reason=line.reason,
        price=line.mark,
        usd_value=line.value,
        cost=line.cost,
        average_cost=line.average_cost,
        unrealized_pnl=line.unrealized,
        reporting=line.reporting,
        timestamp=line.valued_time_us,
    )


def position(line: PositionLine) -> schemas.Position:
    """A position."""
    percent = line.pnl_percent
    return schemas.Position(
        account=line.account,
        id=line.id,
        asset=line.asset,
        symbol=line.symbol,
        symbols=list(line.symbols),
        side=line.side,
        quantity=line.quantity,
        peak_quantity=line.peak_quantity,
        entry_price=line.entry_price,
        exit_price=line.exit_price,
        current_price=line.current_price,
        pnl=line.pnl,
        pnl_percent=None if percent is None else float(percent),
        realized=line.realized,
        unrealized=line.unrealized,
        fees=line.fees,
        fills=line.fills,
        missing_quantity=line.missing_quantity,
        status="open" if line.status == "open" else "closed",
        open_time=line.open_time_us,
        close_time=line.close_time_us,
        reporting=line.reporting,
        revision=line.revision,
    )


def metrics(
    states: Sequence[AccountState], performance: Performance, *, reporting: str, period: str
) -> schemas.Metrics:
    """The performance over a period."""
    return schemas.Metrics(
        period=period,
        accounts=[state.account for state in states],
        reporting=reporting,
        timestamp=max((state.valued_time_us for state in states), default=None),
        start=performance.start_time_us,
        total_pnl=performance.total_pnl,
        realized_pnl=performance.realized_pnl,
        unrealized_pnl=performance.unrealized_pnl,
        roi_percent=performance.roi_percent,
        time_weighted_return=performance.time_weighted_return,
        money_weighted_return=performance.money_weighted_return,
        cagr=performance.cagr,
        volatility=performance.volatility,
        sharpe_ratio=performance.sharpe_ratio,
        sortino_ratio=performance.sortino_ratio,
        calmar_ratio=performance.calmar_ratio,
        max_drawdown=performance.max_drawdown,
        win_rate=performance.win_rate,
        profit_factor=performance.profit_factor,
        expectancy=performance.expectancy,
        closed_round_trips=performance.closed_round_trips,
        undefined={name: reason for name, reason in performance.undefined.items() if name != "total_return"},
    )


def symbol_pnl(line: SymbolLine, reporting: str) -> schemas.SymbolPnl:
    """PnL of a symbol."""
    with exact_arithmetic():
        total = line.realized + line.unrealized
    return schemas.SymbolPnl(
        symbol=line.symbol,
        realized_pnl=line.realized,
        unrealized_pnl=line.unrealized,
        total_pnl=total,
        fees=line.fees,
        volume=line.volume,
        fills=line.fills,
        reporting=reporting,
    )


def trade(line: FillLine) -> schemas.Trade:
    """A fill."""
    return schemas.Trade(
        account=line.account,
        time=line.time_us,
        symbol=line.symbol,
        side="BUY" if line.side == "BUY" else "SELL",
        price=line.price,
        quantity=line.quantity,
        quote_quantity=line.quote_quantity,
        value=line.value,
        fee=line.fee,
        fee_asset=line.fee_asset,
        fee_value=line.fee_value,
        realized_pnl=line.realized,
        execution=line.execution,
        trade_id=line.trade_id,
        order_id=line.order_id,
        maker=line.maker,
        strategy=line.strategy,
        cycle_id=line.cycle_id,
        sequence=line.sequence,
        revision=line.revision,
    )


def account(state: AccountState, lines: Sequence[BalanceLine]) -> schemas.Account:
    """An account, with what it holds."""
    with exact_arithmetic():
        equity = sum((line.value for line in lines), ZERO)
        unrealized = sum((line.unrealized for line in lines), ZERO)
    return schemas.Account(
        account=state.account,
        reporting=state.reporting,
        timestamp=state.valued_time_us,
        last_event=state.event_time_us,
        sequence=state.sequence,
        log_position=log_positions([state]),
        equity=equity,
        net_flows=state.net_flows,
        realized_pnl=state.realized,
        unrealized_pnl=unrealized,
        fees=state.fees,
    )


def cash_flow(line: FlowLine) -> schemas.CashFlow:
    """A flow."""
    return schemas.CashFlow(
        account=line.account,
        id=line.id,
        time=line.time_us,
        kind=line.kind,
        asset=line.asset,
        quantity=line.quantity,
        value=line.value,
        sequence=line.sequence,
    )


def fees(
    states: Sequence[AccountState], assets: Sequence[FeeLine], symbols: Sequence[SymbolLine], reporting: str
) -> schemas.Fees:
    """The fees of the accounts together."""
    with exact_arithmetic():
        paid = sum((state.fees for state in states), ZERO)
    return schemas.Fees(
        reporting=reporting,
        fees=paid,
        by_asset=[
            schemas.AssetFees(asset=line.asset, quantity=line.quantity, value=line.value, fills=line.fills)
            for line in assets
        ],
        by_symbol=[
            schemas.SymbolFees(symbol=line.symbol, fees=line.fees)
            for line in sorted(symbols, key=lambda line: (-line.fees, line.symbol))
            if line.fees
        ],
    )


def reconciliation(lines: Sequence[BalanceLine]) -> schemas.Reconciliation:
    """Where ledger and exchange disagree."""
    told = [line.exchange_time_us for line in lines if line.exchange_time_us is not None]
    differing = [balance(line) for line in lines if line.difference != ZERO]
    return schemas.Reconciliation(
        agrees=not differing, timestamp=max(told, default=None), compared=len(told), differences=differing
    )


def strategy(line: StrategyLine, reporting: str) -> schemas.StrategyPnl:
    """A strategy."""
    return schemas.StrategyPnl(
        strategy=line.strategy,
        realized_pnl=line.realized,
        fees=line.fees,
        volume=line.volume,
        fills=line.fills,
        cycles=line.cycles,
        first=line.first_time_us,
        last=line.last_time_us,
        reporting=reporting,
    )
