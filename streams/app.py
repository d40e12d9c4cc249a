"""The Faust application: the target of `faust -A streams.app worker`.

It works from any directory: the agents are found by the name of their package, and every address comes from the
settings.
"""

import atexit
import gc
import logging
import os
import ssl
import threading
import time
from pathlib import Path
from typing import Final, cast

import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.types import TopicT
from faust.types.transports import ProducerT
from yarl import URL

from infra.settings import Settings, load_settings
from infra.telemetry.logs import logging_config
from streams import topics
from streams.books import BookView
from streams.committing import with_ending_flush
from streams.connection import tls_context
from streams.creation import ensure_topics
from streams.recovery import OrderedTableManager
from streams.tables import BookTable

logger = logging.getLogger(__name__)

_STOP_S: Final = 20.0
"""How long a worker may take to stop; it takes two seconds while the brokers answer."""

_CRASH_STOP_S: Final = 10.0
"""How long a worker that crashed may take."""


class PortfolioApp(faust.App):
    """A Faust application that makes sure of its topics before it reads them, and ends when it has crashed."""

    _is_worker = False

    def worker_init(self) -> None:
        """Take the tables to where `faust --datadir` says.

        Faust only notes the option in the environment, after the application has been imported and configured.
        """
        directory = os.environ.get("F_DATADIR")
        if directory:
            self.conf.datadir = Path(directory).absolute()
        # Everything is closed by then. The interpreter would look through all objects of all modules for cycles,
        # several times: 1.2 s of the 2.9 s that a stop took, and a multiple where processes share a processor.
        atexit.register(gc.freeze)
        self._is_worker = True
        super().worker_init()

    def _crash(self, reason: BaseException) -> None:
        """Note a crash, of this service or of one that it is made of; the process ends soon, one way or the other.

        Faust 0.15.3 commits once more before it ends. Where the brokers are away, as when changelog entries expired,
        its consumer has ended by then, and it waits for the answer for ever; whoever watches over it has nothing to
        start again. A worker may be killed at any moment, so nothing is lost by leaving.
        """
        if not self.crashed:
            self._leave_within(_CRASH_STOP_S)
        super()._crash(reason)

    def _leave_within(self, seconds: float) -> None:
        """End the process after so long, if it still runs by then."""
        if self._is_worker:
            threading.Thread(target=_leave_after, args=(seconds,), name="leave", daemon=True).start()

    async def on_first_start(self) -> None:
        """Make the data directory, with the ones above it, which Faust does not."""
        self.conf.datadir.mkdir(parents=True, exist_ok=True)
        await super().on_first_start()

    async def on_stop(self) -> None:
        """Stop; where the brokers are away, and records cannot be finished, without an end of it."""
        self._leave_within(_STOP_S)
        await super().on_stop()

    async def on_start(self) -> None:
        """Create missing topics, then start.

        Faust would create them by itself, but keep the log of record for seven days only.
        """
        await ensure_topics(load_settings(), on_wait=logger.warning)
        await super().on_start()

    def _new_producer(self) -> ProducerT:
        return with_ending_flush(self, super()._new_producer())


def create_app(settings: Settings) -> PortfolioApp:
    """The application, configured by the settings."""
    return PortfolioApp(
        topics.APP_ID,
        autodiscover=["agents"],
        broker=[URL(f"kafka://{address.strip()}") for address in settings.brokers.split(",")],
        broker_credentials=_credentials(settings),
        datadir=str(settings.data_dir.expanduser().absolute() / "faust"),
        store="rocksdb://?driver=rocksdict",
        TableManager=OrderedTableManager,
        Table=BookTable,
        topic_partitions=settings.partitions,
        topic_disable_leader=True,
        processing_guarantee="at_least_once",
        # Copies of each partition that other workers keep current: a failover then need not read a changelog.
        table_standby_replicas=settings.standby_replicas,
        # A worker that was killed is missed after the session timeout; its partitions move then.
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.5,
        broker_commit_interval=1.0,
        # A rebalance waits for the event in work, so that no other worker gets the partition before its book is
        # written. `streams.processing.Claim` keeps that wait short.
        stream_wait_empty=True,
        # Records may be large, so that a few hundred in memory are enough.
        stream_buffer_maxsize=512,
        consumer_max_fetch_size=topics.MESSAGE_BYTES_MAX,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        producer_linger=0.0,
        producer_compression_type="lz4",
        producer_max_request_size=topics.MESSAGE_BYTES_MAX,
        # Until then the producer tries again by itself; a changelog entry that expires stops the worker.
        producer_request_timeout=300.0,
        web_enabled=False,
        worker_redirect_stdouts=False,
        # The level stays that of `faust -l`.
        logging_config={"merge": True, **logging_config(settings, "worker")},
    )


def _credentials(settings: Settings) -> SASLCredentials | SSLCredentials | None:
    context: ssl.SSLContext | None = tls_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        return SASLCredentials(
            username=settings.kafka_sasl_username,
            password=None if password is None else password.get_secret_value(),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context=context)


def _leave_after(seconds: float) -> None:
    time.sleep(seconds)
    logger.critical("the stop does not end: leaving; what was not acknowledged is read again")
    os._exit(1)


def _input(spec: topics.TopicSpec) -> TopicT:
    """A topic as raw bytes: `streams.records` decodes, so that what cannot be read is ours to handle."""
    return app.topic(
        spec.name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        partitions=app.conf.topic_partitions,
    )


app = create_app(load_settings())

account_events = _input(topics.ACCOUNT_EVENTS)
marks = _input(topics.MARKS)

books = cast(
    "BookTable[bytes, bytes]",
    app.Table(
        topics.BOOKS_TABLE,
        partitions=app.conf.topic_partitions,
        key_type=bytes,
        value_type=bytes,
        # Values are whole books: a small buffer keeps recovery from holding many of them.
        recovery_buffer_size=200,
        standby_buffer_size=50,
    ),
)
book_view = BookView(books)
