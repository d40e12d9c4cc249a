"""Which symbols may have traded: decided by evidence, because asking for the trades of a symbol costs.

A trade always shows: its symbol is on the log, has open orders, or the balance of one of its assets is not explained.
Only trades that cancel each other out to the last digit, fees included, leave no trace.
"""

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet

from infra.binance.catalogue import Catalogue, Instrument

ALL_MAX = 100
"""An exchange that lists no more symbols than this is asked for all of them at the first sync."""

KNOWN_MAX = 25
"""An account that has traded no more symbols than this is asked for all of them at every sync."""


def first_symbols(catalogue: Catalogue, assets: AbstractSet[str]) -> set[str]:
    """The symbols to begin with when the log is empty.

    Args:
        catalogue: The instruments of the exchange.
        assets: What the account holds, and what its histories name.

    Returns:
        All of them at a small exchange, else those with both sides among the assets.
    """
    if len(catalogue) <= ALL_MAX:
        return {instrument.symbol for instrument in catalogue}
    return {each.symbol for each in catalogue if _sides(each) <= assets}


def later_symbols(catalogue: Catalogue, known: Collection[str]) -> set[str]:
    """The symbols to begin with when something has happened since the log was written.

    Args:
        catalogue: The instruments of the exchange.
        known: Symbols that the log names.
    """
    listed = {instrument.symbol for instrument in catalogue}
    if len(listed) <= KNOWN_MAX:
        return listed
    return set(known) & listed if len(known) <= KNOWN_MAX else set()


def suspects(
    catalogue: Catalogue, assets: AbstractSet[str], known: Collection[str], asked: AbstractSet[str]
) -> Iterator[set[str]]:
    """The symbols that may explain a difference, in groups: the likelier and the fewer come first.

    Args:
        catalogue: The instruments of the exchange.
        assets: Assets whose balance is not explained.
        known: Symbols that the log names.
        asked: Symbols that need not be named again.

    Yields:
        Both sides differ; the account has traded it; its base differs; its quote differs. None is empty, none is named
        twice.
    """
    touching = [each for each in catalogue if each.symbol not in asked and _sides(each) & assets]
    traded = set(known)
    seen: set[str] = set()
    for group in (
        {each.symbol for each in touching if _sides(each) <= assets},
        {each.symbol for each in touching if each.symbol in traded},
        {each.symbol for each in touching if each.base in assets},
        {each.symbol for each in touching},
    ):
        fresh = group - seen
        seen |= fresh
        if fresh:
            yield fresh


def _sides(instrument: Instrument) -> set[str]:
    return {instrument.base, instrument.quote}
