"""The composition of the exchange, and the server that runs it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from aiohttp import web

from infra.exchange.account_endpoints import ACCOUNT_ENDPOINTS
from infra.exchange.accounts import AccountDescription
from infra.exchange.endpoints import WeightScope
from infra.exchange.engine import Exchange
from infra.exchange.fault_injector import FaultInjector
from infra.exchange.fault_plans import FaultPlan
from infra.exchange.faults import Faults
from infra.exchange.fees import FeeSchedule
from infra.exchange.generated import generate_market
from infra.exchange.journal import Journal
from infra.exchange.limits import OrderCounts, RequestWeights
from infra.exchange.market import Market
from infra.exchange.market_endpoints import MARKET_ENDPOINTS
from infra.exchange.market_streams import MarketStreams
from infra.exchange.operator_api import OperatorApi
from infra.exchange.operator_controls import OperatorControls
from infra.exchange.operator_faults import OperatorFaults
from infra.exchange.order_endpoints import ORDER_ENDPOINTS
from infra.exchange.order_list_endpoints import ORDER_LIST_ENDPOINTS
from infra.exchange.recording import load_recording
from infra.exchange.replacement_endpoints import REPLACEMENT_ENDPOINTS
from infra.exchange.rest import Gate, rest_routes
from infra.exchange.sapi_endpoints import SAPI_ENDPOINTS
from infra.exchange.security import AccountKey, KeyRing
from infra.exchange.symbols import Listing
from infra.exchange.websocket_api import WebSocketApi

_logger = logging.getLogger(__name__)
_ENDPOINTS = (
    *MARKET_ENDPOINTS,
    *ACCOUNT_ENDPOINTS,
    *ORDER_ENDPOINTS,
    *ORDER_LIST_ENDPOINTS,
    *REPLACEMENT_ENDPOINTS,
    *SAPI_ENDPOINTS,
)
# Each endpoint under /sapi has as much, by address or by account.
_SAPI_LIMITS = {WeightScope.SAPI_ADDRESS: 12_000, WeightScope.SAPI_ACCOUNT: 180_000}
_ADVANCE_EVERY_S = 0.02
_TICKERS_EVERY_S = 1.0
_SHUTDOWN_S = 2.0

DEMO_KEY = AccountKey("demo", "demo-key", "demo-secret")


@dataclass(frozen=True, kw_only=True)
class ExchangeOptions:
    """How an exchange is run.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        accounts: Accounts and their keys; each starts with the same balances.
        described: More accounts, with balances, keys and trade groups of their own.
        speed: How much faster than recorded the market goes.
        seed: Where in the recording the market is, and how generated symbols move.
        state: Directory of the journal; none keeps everything in memory.
        fees: Rates of commission.
        symbols: More symbols than the recorded ones; their market is made by the seed.
        faults: What goes wrong, and when, counted from the start.
    """

    host: str = "127.0.0.1"
    port: int = 0
    accounts: tuple[AccountKey, ...] = (DEMO_KEY,)
    described: tuple[AccountDescription, ...] = ()
    speed: Fraction = Fraction(1)
    seed: int = 0
    state: Path | None = None
    fees: FeeSchedule = field(default_factory=FeeSchedule)
    symbols: tuple[str, ...] = ()
    faults: FaultPlan = field(default_factory=FaultPlan)


def wall_clock_us() -> int:
    """The time, in microseconds."""
    return time.time_ns() // 1000


@asynccontextmanager
async def running_exchange(options: ExchangeOptions) -> AsyncIterator[str]:
    """Run an exchange while the context is open.

    Args:
        options: How.

    Yields:
        Its base address, `http://host:port`.

    Raises:
        JournalError: The state is in use or damaged.
        ValueError: No market can be made for one of the symbols, or an account makes no sense.
        OSError: The port is taken.
    """
    journal = Journal(options.state) if options.state is not None else None
    try:
        exchange = build_exchange(options, journal, wall_clock_us)
        runner = web.AppRunner(
            build_app(exchange, KeyRing(_keys(options)), options.faults),
            access_log=None,
            shutdown_timeout=_SHUTDOWN_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, options.host, options.port).start()
            host, port, *_ = runner.addresses[0]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()
    finally:
        if journal is not None:
            journal.close()


def build_exchange(options: ExchangeOptions, journal: Journal | None, clock: Callable[[], int]) -> Exchange:
    """Make the exchange without its server; accounts that are new get their first balances."""
    recorded = load_recording()
    generated = generate_market(options.symbols, options.seed, recorded)
    listing = Listing(generated.entries)
    market = Market(recorded | generated.tapes, options.speed, options.seed)
    exchange = Exchange(market, listing, clock, journal, options.fees, seed=options.seed)
    for key in options.accounts:
        exchange.open_account(key.account)
    for each in options.described:
        each.check()
        exchange.open_account(each.account, each.balances, each.trade_group)
    return exchange


def _keys(options: ExchangeOptions) -> list[AccountKey]:
    return [*options.accounts, *(key for each in options.described for key in each.account_keys())]


def build_app(exchange: Exchange, keys: KeyRing, plan: FaultPlan) -> web.Application:
    """Make the web application around an exchange; the plan of faults starts with it."""
    faults = Faults(wall_clock_us, plan.seed)
    sapi_weights = {scope: RequestWeights(limit) for scope, limit in _SAPI_LIMITS.items()}
    orders = OrderCounts(exchange.listing.limits("ORDERS"))
    exchange.user_listeners.append(orders.on_events)
    gate = Gate(exchange, keys, RequestWeights(exchange.listing.weight_limit), faults, sapi_weights, orders)
    websocket_api, streams = WebSocketApi(gate, _ENDPOINTS), MarketStreams(exchange, faults)
    injector = FaultInjector(exchange, faults, websocket_api, streams)
    app = web.Application()
    app.add_routes(rest_routes(gate, _ENDPOINTS))
    app.add_routes(OperatorApi(exchange, websocket_api).routes())
    app.add_routes(OperatorFaults(injector).routes())
    app.add_routes(OperatorControls(gate).routes())
    app.add_routes(
        [
            web.get("/ws-api/v3", websocket_api.connect),
            web.get("/ws", streams.connect),
            web.get("/ws/{streams:.+}", streams.connect),
            web.get("/stream", streams.connect),
        ]
    )

    async def run_market(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_run_market(exchange, streams), name="exchange-market")
        task.add_done_callback(_stop_if_failed)
        injector.follow(plan)
        yield
        await injector.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def close_sockets(_app: web.Application) -> None:
        await websocket_api.close()
        await streams.close()

    app.cleanup_ctx.append(run_market)
    app.on_shutdown.append(close_sockets)
    return app


async def _run_market(exchange: Exchange, streams: MarketStreams) -> None:
    next_tickers_s = time.monotonic()
    while True:
        exchange.advance()
        if time.monotonic() >= next_tickers_s:
            next_tickers_s += _TICKERS_EVERY_S
            streams.send_mini_tickers()
        await asyncio.sleep(_ADVANCE_EVERY_S)


def _stop_if_failed(task: asyncio.Task[None]) -> None:
    """End the process when the market stands still: an exchange that only looks alive would mislead its clients."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _logger.critical("the market stopped; the exchange ends", exc_info=error)
        raise SystemExit(1)
