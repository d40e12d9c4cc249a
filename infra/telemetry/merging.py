"""One text out of the metrics of many processes, in Prometheus' format."""

import logging
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from infra.telemetry.sharing import ProcessName

logger = logging.getLogger(__name__)


def merge(told: Iterable[tuple[ProcessName, bytes]]) -> bytes:
    """Merge what processes tell; each sample gets the labels `process`, `host` and `pid`.

    Text that is not in the format, as of a version that is no longer ours, is left out.

    Args:
        told: Each process with its text.
    """
    merged: dict[str, Metric] = {}
    for name, text in told:
        try:
            families = list(text_string_to_metric_families(text.decode()))
        except (ValueError, IndexError, KeyError) as error:
            logger.warning("the metrics of %s cannot be read: %s", name.key, error)
            continue
        for family in families:
            _add(merged, family, name)
    registry = CollectorRegistry()
    registry.register(_Families(merged.values()))
    return generate_latest(registry)


def _add(merged: dict[str, Metric], family: Metric, name: ProcessName) -> None:
    known = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
    if known.type != family.type:
        # Two versions run at the same time; one name with two types would make the whole text unreadable.
        return
    labels = {"process": name.process, "host": name.host, "pid": name.pid}
    known.samples.extend(sample._replace(labels={**sample.labels, **labels}) for sample in family.samples)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
