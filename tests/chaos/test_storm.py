"""Everything goes wrong between the exchange and the gateway; the log is what the exchange's own books say.

`portfolio storm` is run as a user runs it, in a process of its own.
"""

import asyncio
import json
import signal
import sys
from typing import Any

import pytest

from cli.storm.agreement import Execution, disordered
from cli.storm.run import StormOptions
from infra.exchange.faults import FaultKind

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


async def run_storm(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run it: the exit code, the report, and what it said meanwhile."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "storm", "--json", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, progress = await process.communicate()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
    assert process.returncode is not None
    assert output, progress.decode()
    return process.returncode, json.loads(output), progress.decode()


def assert_agrees(code: int, report: dict[str, Any], progress: str) -> None:
    assert report["differences"] == [], progress
    assert (code, report["lost"], report["duplicated"], report["disordered"]) == (0, 0, 0, 0), progress
    weights = report["weight"]
    assert all(each["most_used"] <= each["limit"] and not each["refused"] for each in weights.values())
    assert weights["api 127.0.0.1"]["most_used"] > 0


async def test_the_log_is_what_the_exchange_says_after_a_few_faults() -> None:
    code, report, progress = await run_storm(
        *("--seed", "1", "--faults", "6", "--fills", "200", "--symbols", "3", "--accounts", "2")
    )
    assert_agrees(code, report, progress)
    assert report["fills"] >= 200
    assert sum(report["faults"].values()) == 6
    assert (report["symbols"], report["accounts"]) == (3, 2)


@pytest.mark.slow
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_log_is_what_the_exchange_says_after_two_hundred_faults(seed: int) -> None:
    code, report, progress = await run_storm(
        *("--seed", str(seed), "--faults", "200", "--fills", "20000", "--symbols", "30", "--accounts", "3")
    )
    assert_agrees(code, report, progress)
    assert report["fills"] >= 20_000
    assert set(report["faults"]) == set(FaultKind) - {"wipe"}


def test_one_seed_is_one_storm() -> None:
    """Which faults there are, when, and how they strike; the very messages that they strike differ with the machine."""
    once, again, other = (StormOptions(seed=seed, faults=40, fills=1).plan.schedule() for seed in (7, 7, 8))
    assert once == again
    assert once != other


def test_fills_of_a_symbol_are_in_order() -> None:
    def execution(symbol: str, trade_id: int) -> Execution:
        return Execution(symbol, trade_id, **dict.fromkeys(Execution._fields[2:], 0))  # type: ignore[arg-type]

    assert disordered([execution("A", 2), execution("B", 1), execution("A", 2), execution("A", 3)]) == 0
    assert disordered([execution("A", 2), execution("B", 3), execution("A", 1), execution("A", 3)]) == 1
