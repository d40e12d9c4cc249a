"""Parts of the real stack die and hang at random; no fill is lost, none counted twice, and all books agree.

`portfolio chaos` is run as a user runs it, in a process of its own.
"""

import asyncio
import json
import signal
import sys
from typing import Any

import psutil
import pytest

from tests.support.gateway import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


async def run_chaos(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run it: the exit code, the report, and what it said meanwhile."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cli.main", "chaos", "--json", *arguments),
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


async def test_all_books_agree_after_five_faults() -> None:
    code, report, progress = await run_chaos("--seed", "1", "--faults", "5", "--fills", "200")

    assert report["differences"] == [], progress
    assert (code, report["lost"], report["duplicated"]) == (0, 0, 0)
    assert report["fills"] >= 200
    assert report["flows"] > 0
    assert report["corrections"] > 0
    assert len(report["faults"]) + len(report["skipped"]) == 5
    assert all(fault["recovered_s"] is not None for fault in report["faults"])
    assert {"seed", "faults", "fills", "lost", "duplicated", "differences", "longest_silence_s"} < set(report)


@pytest.mark.slow
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("seed", [11, 12, 13])
async def test_all_books_agree_after_a_hundred_faults(seed: int) -> None:
    code, report, progress = await run_chaos(
        *("--seed", str(seed), "--faults", "100", "--fills", "20000", "--workers", "3")
    )

    assert (code, report["lost"], report["duplicated"], report["differences"]) == (0, 0, 0, []), progress
    assert len(report["faults"]) + len(report["skipped"]) == 100


@pytest.mark.slow
async def test_what_was_suspended_is_gone_when_the_run_is_interrupted() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cli.main", "chaos", "--seed", "1", "--faults", "40"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(120):
            async for line in process.stderr:
                if b" hang " in line:
                    break
        parent = psutil.Process(process.pid)

        async def hangs() -> bool:
            return any(child.status() == psutil.STATUS_STOPPED for child in parent.children(recursive=True))

        await eventually(hangs, timeout_s=6)
        children = parent.children(recursive=True)
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.communicate()
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
