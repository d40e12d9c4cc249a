"""A statistic that may not exist: a number, or the reason why there is none."""

import functools
import math
from collections.abc import Callable
from typing import ParamSpec

import msgspec

from portfolio.errors import PortfolioError

_P = ParamSpec("_P")


class UndefinedError(PortfolioError, ArithmeticError):
    """A series or a statistic that the data do not determine; its text is the reason."""


class Metric(msgspec.Struct, frozen=True):
    """One statistic.

    Attributes:
        value: The number, always finite; None when it is undefined.
        undefined: Why there is no number; None when there is one.
    """

    value: float | None
    undefined: str | None = None

    def required(self) -> float:
        """Return the number.

        Raises:
            UndefinedError: There is none; the text is this metric's reason.
        """
        if self.value is None:
            raise UndefinedError(self.undefined or "undefined")
        return self.value


def required(number: Metric | float) -> float:
    """Return the number of a metric, or the number itself.

    Raises:
        UndefinedError: The metric has none.
    """
    return number.required() if isinstance(number, Metric) else number


def metric(function: Callable[_P, float]) -> Callable[_P, Metric]:
    """Turn a function that computes a float into one that returns a `Metric`.

    An `UndefinedError` becomes the reason. So does a result beyond the range of a float: infinity and NaN never leave.
    """

    @functools.wraps(function)
    def measure(*args: _P.args, **kwargs: _P.kwargs) -> Metric:
        try:
            value = function(*args, **kwargs)
        except UndefinedError as error:
            return Metric(None, str(error))
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            return Metric(None, "the result is out of the range of a floating-point number")
        # Adding zero turns -0.0 into 0.0: nothing earned has no sign.
        return Metric(value + 0.0)

    return measure
