"""A commit ends although the next changelog entry is always under way."""

import asyncio
from typing import Any, cast

import pytest

from infra.settings import Settings
from streams.app import create_app
from streams.committing import EndingBuffer

SOME_ENTRY: Any = object()


async def test_a_flush_ends_while_entries_keep_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = cast("EndingBuffer", create_app(Settings(_env_file=None)).producer.buffer)
    sent = 0

    async def send_and_get_another(_entry: object) -> None:
        nonlocal sent
        await asyncio.sleep(0)
        sent += 1
        buffer.put(SOME_ENTRY)

    monkeypatch.setattr(buffer, "_send_pending", send_and_get_another)
    for _ in range(3):
        buffer.put(SOME_ENTRY)
    async with buffer:
        await asyncio.wait_for(buffer.flush(), timeout=30)
        assert buffer.size
        assert sent >= 3
        while buffer.size:  # a buffer that is not empty cannot be stopped
            buffer.pending.get_nowait()
