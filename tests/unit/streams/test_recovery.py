"""Guard 1: no record flows from before the partitions are resumed until the seek is done."""

import asyncio
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.types import TP

from streams.recovery import OrderedTableManager


class RecordingConsumer:
    """What recovery needs of a consumer; it notes whether records could flow during the seek."""

    def __init__(self) -> None:
        # As after `_restart_recovery` with nothing to recover, which has resumed the flow by now.
        self.flows = True
        self.flowed_during_seek: bool | None = None

    def assignment(self) -> set[TP]:
        return {TP("events", 0)}

    def resume_partitions(self, partitions: set[TP]) -> None: ...

    def stop_flow(self) -> None:
        self.flows = False

    async def wait_for_stopped_flow(self) -> None: ...

    def resume_flow(self) -> None:
        self.flows = True

    async def perform_seek(self) -> None:
        await asyncio.sleep(0)
        self.flowed_during_seek = self.flows


@pytest.fixture
def app() -> faust.App:
    application = faust.App("recovery-test", store="memory://", TableManager=OrderedTableManager)
    application.finalize()
    return application


async def test_nothing_flows_until_the_seek_is_done(app: faust.App, monkeypatch: pytest.MonkeyPatch) -> None:
    consumer: Any = RecordingConsumer()

    async def start_fetcher() -> None: ...

    fetcher = SimpleNamespace(maybe_start=start_fetcher)
    monkeypatch.setattr(app, "_consumer", consumer)
    monkeypatch.setattr(type(app), "_fetcher", fetcher)
    monkeypatch.setattr(type(app), "consumer_generation_id", 0)
    tables = app.tables
    assert isinstance(tables, OrderedTableManager)
    await tables.recovery.on_recovery_completed(0)
    assert consumer.flowed_during_seek is False
    assert consumer.flows


def test_the_application_uses_the_guard() -> None:
    from streams.app import app

    assert app.conf.TableManager is OrderedTableManager
