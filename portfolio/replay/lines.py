"""What every format is read into: numbered events; and the error that names the line that is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from portfolio.errors import PortfolioError
from portfolio.events import Event, Side


class InvalidLine(PortfolioError, ValueError):
    """A line that cannot be read or booked.

    Attributes:
        number: The line, counted from 1; for a JSON array, the element.
    """

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"line {number}: {what}")
        self.number = number


class Line(NamedTuple):
    """One event of a file. `account` is None for marks that hold for every account."""

    number: int
    account: str | None
    event: Event


@contextmanager
def numbered(number: int) -> Iterator[None]:
    """Name the line in whatever goes wrong with it."""
    try:
        yield
    except KeyError as error:
        raise InvalidLine(number, f'"{error.args[0]}" is missing') from error
    except (PortfolioError, ValueError, TypeError, OverflowError) as error:
        raise InvalidLine(number, str(error)) from error


def side_of(value: object) -> Side:
    """Read a side.

    Raises:
        ValueError: It is neither BUY nor SELL.
    """
    if value not in tuple(Side):
        raise ValueError(f'"side" must be BUY or SELL, not {value!r}')
    return Side(str(value))
