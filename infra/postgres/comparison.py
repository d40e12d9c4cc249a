"""What performance is compared with, and by what it is told apart: prices of an asset, and strategies."""

from dataclasses import dataclass
from decimal import Decimal

from infra.postgres import queries
from infra.postgres.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyLine:
    """What the fills of a strategy have come to; reporting currency."""

    strategy: str
    realized: Decimal
    fees: Decimal
    volume: Decimal
    fills: int
    cycles: int
    first_time_us: int
    last_time_us: int


async def asset_rates(view: View, asset: str) -> list[tuple[int, Decimal]]:
    """The prices of an asset at the valuation points of the accounts of a view, in order of time."""
    rows = await view.connection.fetch(queries.SELECT_ASSET_RATES, list(view.accounts), asset, view.seen)
    return [(row["time_us"], row["rate"]) for row in rows]


async def strategy_lines(view: View) -> list[StrategyLine]:
    """What each strategy has realized, best first."""
    rows = await view.connection.fetch(queries.SELECT_STRATEGIES, list(view.accounts), view.seen)
    return [StrategyLine(**dict(row)) for row in rows]
