"""The whole pipeline as a user starts it, and a second opinion on its books."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from decimal import ROUND_DOWN, Context, Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil

from infra.embedded.checks import free_port
from infra.settings import Settings
from portfolio.events import Fill, Flow
from streams.records import AccountEvents


class PipelineProcess:
    """`portfolio up` on ports and data of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._arguments = arguments
        self._log_path = directory / "up.log"
        ports = {f"PORTFOLIO_{part}_PORT": str(free_port()) for part in ("KAFKA", "POSTGRES", "REDIS", "EXCHANGE")} | {
            "PORTFOLIO_PORT": str(free_port())
        }
        self.environment = ports | {"PORTFOLIO_DATA_DIR": str(directory / "data"), "PORTFOLIO_PARTITIONS": "4"}
        self.settings = Settings.model_validate(
            {
                "kafka_port": int(ports["PORTFOLIO_KAFKA_PORT"]),
                "port": int(ports["PORTFOLIO_PORT"]),
                "exchange_port": int(ports["PORTFOLIO_EXCHANGE_PORT"]),
                "partitions": 4,
            }
        )
        self.exchange_url = f"http://127.0.0.1:{self.settings.exchange_port}"
        self.api_url = f"http://127.0.0.1:{self.settings.port}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, timeout_s: float = 150) -> None:
        """Start, and wait until it says that it is open."""
        with self._log_path.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "cli.main",
                "up",
                *self._arguments,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=output,
            )
        async with asyncio.timeout(timeout_s):
            while "Open http" not in self.output:
                assert self._process.returncode is None, self.output
                await asyncio.sleep(0.2)

    async def stop(self, number: signal.Signals = signal.SIGINT, timeout_s: float = 40) -> int:
        """Ctrl-C, and the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()

    async def abandon(self) -> None:
        """Make sure that nothing is left running."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(TimeoutError):
                await self.stop(timeout_s=20)
        if self._process is not None and self._process.returncode is None:
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self._process.kill()
            await self._process.wait()

    def kill(self, part: str) -> None:
        """SIGKILL a part, by what its command line says."""
        assert self._process is not None
        for child in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if part in " ".join(child.cmdline()):
                    child.kill()
                    return
        raise AssertionError(f"no {part} is running")

    @property
    def output(self) -> str:
        return self._log_path.read_text() if self._log_path.exists() else ""

    def log_file(self, part: str) -> Path:
        """What a part has logged."""
        return Path(self.environment["PORTFOLIO_DATA_DIR"]) / "logs" / f"{part}.log"

    async def text(self, path: str) -> str:
        async with httpx.AsyncClient(base_url=self.api_url, timeout=10) as client:
            answer = await client.get(path)
            assert answer.is_success, answer.text
            return answer.text

    async def get(self, path: str, **params: str | int) -> Any:
        async with httpx.AsyncClient(base_url=self.api_url, timeout=10) as client:
            answer = await client.get(path, params=params)
            assert answer.is_success, answer.text
            return answer.json()


_EXACT = Context(prec=200)
_CUT = Decimal(1).scaleb(-24)


class SecondOpinion:
    """Realized PnL by the plainest weighted average there is, from what the exchange says happened.

    Quantities, prices and fees are the exchange's. Of the service's own log it takes the rates to the reporting
    currency only, which nobody else knows; a cost is cut at 24 places, as docs/accounting.md says.
    """

    def __init__(self, log: list[AccountEvents]) -> None:
        events = [event for record in log for event in record.events]
        self._rates = {(e.symbol, e.trade_id): e.rates for e in events if isinstance(e, Fill)}
        self._flows = [e for e in events if isinstance(e, Flow)]
        self._pools: dict[str, tuple[Decimal, Decimal]] = {}
        self.realized = Decimal(0)

    def book(self, trades: list[Mapping[str, Any]]) -> Decimal:
        """The realized PnL of the exchange's trades, with the account's flows between them."""
        moves: list[tuple[int, int, Any]] = [(flow.time_us, 0, flow) for flow in self._flows]
        moves += [(trade["time_us"], 1, trade) for trade in trades]
        for _, _, move in sorted(moves, key=lambda item: item[:2]):
            if isinstance(move, Flow):
                value = _EXACT.multiply(abs(move.quantity), self._rate(move.asset, move.rates))
                self._move(move.asset, move.quantity, value)
            else:
                self._trade(move)
        return self.realized

    def _trade(self, trade: Mapping[str, Any]) -> None:
        symbol = trade["symbol"]
        base, quote = (symbol[:-4], "USDT") if symbol.endswith("USDT") else (symbol[:-3], symbol[-3:])
        rates = dict(self._rates[symbol, trade["id"]])
        price = Decimal(trade["price"])
        quantity, spent = Decimal(trade["qty"]), Decimal(trade["quoteQty"])
        value = _EXACT.multiply(spent, self._rate(quote, rates))
        rates.setdefault(base, _EXACT.multiply(price, self._rate(quote, rates)))
        sign = 1 if trade["isBuyer"] else -1
        # What goes out goes first: what comes in must not be part of its average.
        legs = [(quote, -sign * spent), (base, sign * quantity)]
        for asset, moved in sorted(legs, key=lambda leg: leg[1] > 0):
            self._move(asset, moved, value)
        fee, fee_asset = Decimal(trade["commission"]), trade["commissionAsset"]
        fee_value = _EXACT.multiply(fee, self._rate(fee_asset, rates))
        self._move(fee_asset, -fee, fee_value)
        self.realized = _EXACT.subtract(self.realized, fee_value)

    def _move(self, asset: str, quantity: Decimal, value: Decimal) -> None:
        held, cost = self._pools.get(asset, (Decimal(0), Decimal(0)))
        if quantity > 0:
            self._pools[asset] = (_EXACT.add(held, quantity), _EXACT.add(cost, value))
            return
        out = -quantity
        part = _EXACT.divide(_EXACT.multiply(cost, out), held).quantize(_CUT, ROUND_DOWN, _EXACT)
        removed = out if asset == "USDT" else cost if out == held else part
        self._pools[asset] = (_EXACT.subtract(held, out), _EXACT.subtract(cost, removed))
        self.realized = _EXACT.add(self.realized, _EXACT.subtract(value, removed))

    @staticmethod
    def _rate(asset: str, rates: Mapping[str, Decimal]) -> Decimal:
        return Decimal(1) if asset == "USDT" else rates[asset]
