"""Who is told: the targets of the file, each with its delivery, while targets come, change and go."""

import asyncio
from collections.abc import Mapping

from infra.alert_file import TargetTable
from infra.cancellation import end
from streams.alerts.delivery import Delivery, KeepOffsets, Told


class Telling:
    """The deliveries of all targets."""

    def __init__(self, keep: KeepOffsets) -> None:
        """Start with no target.

        Args:
            keep: Keeps, for the next start, up to where a target was told.
        """
        self._keep = keep
        self._kept: dict[str, dict[str, int]] = {}
        self._seen: dict[str, int] = {}
        self._past: list[Told] = []
        self._running: dict[str, tuple[Delivery, asyncio.Task[None]]] = {}

    def restore(self, name: str, next_offsets: dict[str, int]) -> None:
        """Take in up to where a target was told before."""
        self._kept[name] = next_offsets

    def put(self, told: Told) -> None:
        """Tell every target of a change that it was not told of before."""
        self._seen[told.place] = told.offset + 1
        if not self._running:
            self._past.append(told)
        for delivery, _ in self._running.values():
            delivery.put(told)

    def use(self, targets: Mapping[str, TargetTable]) -> None:
        """Tell these targets from here on; one that was never told before begins with what comes now."""
        for name in self._running.keys() - targets.keys():
            self._running.pop(name)[1].cancel()
        past, self._past = self._past, []
        for name, target in targets.items():
            if name in self._running:
                self._running[name][0].target = target
                continue
            delivery = Delivery(name, target, self._kept.setdefault(name, dict(self._seen)), self._keep)
            for told in past:
                delivery.put(told)
            self._running[name] = (delivery, asyncio.create_task(delivery.run(), name=f"telling {name}"))

    def raise_error(self) -> None:
        """Raise what ended a delivery, if something has."""
        for _, task in self._running.values():
            if task.done():
                task.result()

    async def close(self) -> None:
        """Stop telling."""
        await end(task for _, task in self._running.values())
