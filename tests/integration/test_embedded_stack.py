"""The embedded servers, for real: they start, keep their data over a restart, and stop."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.embedded.processes import stop_leftovers
from infra.embedded.servers import Directories, Part
from tests.support.stack import bring_up, embedded_kafka, embedded_postgres, embedded_redis

pytestmark = pytest.mark.integration


@pytest.fixture
def up() -> Iterator[Callable[[Part], Part]]:
    started: list[Part] = []

    def start(part: Part) -> Part:
        started.append(part)
        bring_up(part)
        return part

    yield start
    for part in started:
        part.process.stop()


async def test_kafka_keeps_its_records_when_it_is_stopped_and_started(
    tmp_path: Path, up: Callable[[Part], Part]
) -> None:
    kafka = up(embedded_kafka(tmp_path))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    await admin.close()
    large = b"x" * (15 * 1024 * 1024)
    async with AIOKafkaProducer(bootstrap_servers=kafka.address, max_request_size=16 * 1024 * 1024) as producer:
        await producer.send_and_wait("kept", b"small")
        await producer.send_and_wait("kept", large)
    kafka.process.stop()

    kafka = up(embedded_kafka(tmp_path, port=int(kafka.address.rpartition(":")[2])))
    consumer = AIOKafkaConsumer("kept", bootstrap_servers=kafka.address, auto_offset_reset="earliest")
    async with consumer:
        values = [(await consumer.getone()).value for _ in range(2)]

    assert values == [b"small", large]


async def test_postgres_keeps_its_rows_when_it_is_stopped_and_started(
    tmp_path: Path, up: Callable[[Part], Part]
) -> None:
    postgres = up(embedded_postgres(tmp_path))
    connection = await asyncpg.connect(postgres.address)
    await connection.execute("CREATE TABLE kept (amount numeric)")
    await connection.execute("INSERT INTO kept VALUES (0.100000000000000001)")
    began = time.monotonic()
    postgres.process.stop()  # the open connection must not delay it
    stop_s = time.monotonic() - began
    await connection.close()

    postgres = up(embedded_postgres(tmp_path))
    connection = await asyncpg.connect(postgres.address)
    amount = await connection.fetchval("SELECT amount FROM kept")
    await connection.close()

    assert str(amount) == "0.100000000000000001"
    assert stop_s < 30


def test_redis_keeps_its_keys_when_it_is_stopped_and_started(tmp_path: Path, up: Callable[[Part], Part]) -> None:
    server = up(embedded_redis(tmp_path))
    with closing(redis.Redis.from_url(server.address)) as client:
        client.set("kept", "value")
    server.process.stop()

    server = up(embedded_redis(tmp_path))
    with closing(redis.Redis.from_url(server.address)) as client:
        assert client.get("kept") == b"value"


def test_a_server_whose_supervisor_was_killed_is_stopped_and_started_again_with_its_data(
    tmp_path: Path, up: Callable[[Part], Part]
) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _START_REDIS_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    with supervisor, supervisor.stdout:
        port, pid = map(int, supervisor.stdout.readline().split())
        os.kill(supervisor.pid, signal.SIGKILL)

    assert psutil.pid_exists(pid)
    assert stop_leftovers(Directories(tmp_path).run) == ["redis"]

    server = up(embedded_redis(tmp_path, port))
    with closing(redis.Redis.from_url(server.address)) as client:
        assert client.get("kept") == b"value"


_START_REDIS_AND_WAIT = """
import sys, time
from pathlib import Path
import redis
from tests.support.stack import bring_up, embedded_redis
server = embedded_redis(Path(sys.argv[1]))
bring_up(server)
redis.Redis.from_url(server.address).set("kept", "value")
print(server.port, server.process.pid, flush=True)
time.sleep(60)
"""


def test_a_process_that_only_has_the_number_of_an_old_one_is_left_alone(tmp_path: Path) -> None:
    record = {"name": "kafka", "pid": os.getpid(), "start_time_s": 1.0, "first_start_time_s": 1.0}
    (tmp_path / "kafka.json").write_text(json.dumps({**record, "stop_signal": int(signal.SIGTERM)}))

    assert stop_leftovers(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def test_each_test_has_an_empty_database_of_its_own(database_url: str, redis_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    tables = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()

    with closing(redis.Redis.from_url(redis_url)) as client:
        assert (tables, client.dbsize()) == (0, 0)
