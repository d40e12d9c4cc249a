"""Commits that are not put off: Faust flushes the producer before each, and its flush need not end.

Faust 0.15.3 waits in `ProducerBuffer.flush` until the buffer is empty. While records come one after the other there is
nearly always another changelog entry in it, and a commit can take as long as they come: whoever took the partition
over would read all of that again. The service acknowledges a record when the broker has its changelog entries, so a
commit need not wait for those that were put into the buffer since it began.
"""

import faust
from faust.transport.producer import ProducerBuffer
from faust.types.transports import ProducerT


class EndingBuffer(ProducerBuffer):
    """A producer's buffer whose flush ends when as many entries as it had at first have left."""

    async def flush(self) -> None:
        """Wait until what is in the buffer now has been handed to the producer, or nothing moves."""
        await self.flush_atmost(self.size)


def with_ending_flush(app: faust.App, producer: ProducerT) -> ProducerT:
    """The producer, which was not started yet, with an `EndingBuffer`."""
    buffer = EndingBuffer(loop=producer.loop, beacon=producer.beacon)
    buffer.app = app
    producer.buffer = buffer
    return producer
