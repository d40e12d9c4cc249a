"""Work beside the agents: how long it waits after what."""

import asyncio
from itertools import pairwise

import pytest
from aiokafka.errors import KafkaError
from mode import Service

from streams.perseverance import persistently
from tests.support.virtual_time import run_in_virtual_time


class Idle(Service):
    """A service with nothing to do."""


def test_pauses_grow_while_something_is_away_and_begin_anew_once_it_was_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Idle()
    began: list[float] = []
    ended: list[float] = []
    turns = [*[(0.0, KafkaError("away"))] * 8, (30.0, KafkaError("away")), (0.0, ZeroDivisionError("a bug"))]

    async def work() -> None:
        began.append(asyncio.get_running_loop().time())
        if len(began) > len(turns):
            service._stopped.set()
            return
        lasts_s, error = turns[len(began) - 1]
        await asyncio.sleep(lasts_s)
        ended.append(asyncio.get_running_loop().time())
        raise error

    run_in_virtual_time(persistently(service, "carry letters", work))

    waits = [after - before for before, after in zip(ended, began[1:], strict=True)]
    assert 0.2 < waits[0] <= 0.5
    assert all(later > 0.9 * earlier for earlier, later in pairwise(waits[:5]))
    assert 7.4 < waits[7] <= 15
    assert 0.2 < waits[8] <= 0.5  # it had gone well for half a minute
    assert waits[9] == pytest.approx(60)
    assert "cannot carry letters until the cause is removed" in caplog.text
