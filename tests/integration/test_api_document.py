"""Schemathesis makes requests up from the OpenAPI document, valid ones and wrong ones, and compares every answer."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from infra.postgres.migrate import migrate
from tests.integration.test_api import LIVE_MARKS, LIVE_US, store
from tests.integration.test_api_stream import listening
from tests.support.journal import sample_account

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
NEVER_ENDS = "/portfolio/stream"
"""What it answers to is tested in test_api_stream.py."""


async def attack(url: str, redis_url: str, directory: Path, *options: str) -> None:
    """Let Schemathesis look for answers that the document does not tell of."""
    await migrate(url)
    journal, updates = sample_account()
    await store(url, updates, journal.marked(LIVE_US, **LIVE_MARKS))
    async with listening(url, redis_url) as address:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"http://{address}/openapi.json"),
            *("--exclude-path", NEVER_ENDS, "--checks", "all", *options),
            cwd=directory,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode(errors="replace")


async def test_the_document_is_true_of_its_examples(database_url: str, redis_url: str, tmp_path: Path) -> None:
    await attack(database_url, redis_url, tmp_path, "--phases", "examples")


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_the_document_is_true_of_whatever_is_asked(database_url: str, redis_url: str, tmp_path: Path) -> None:
    await attack(database_url, redis_url, tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", "30")
