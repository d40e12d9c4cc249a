"""The highest and lowest of any range, without walking it."""

from decimal import Decimal


class RangeExtremes:
    """The highest and lowest of any range of a list, from tables of powers of two."""

    def __init__(self, values: list[Decimal]) -> None:
        self._highest, self._lowest = [values], [values]
        width = 1
        while 2 * width <= len(values):
            highest, lowest = self._highest[-1], self._lowest[-1]
            self._highest.append([max(pair) for pair in zip(highest, highest[width:], strict=False)])
            self._lowest.append([min(pair) for pair in zip(lowest, lowest[width:], strict=False)])
            width *= 2

    def of(self, start: int, end: int) -> tuple[Decimal, Decimal]:
        """Highest and lowest of `values[start:end]`, which is not empty."""
        level = (end - start).bit_length() - 1
        second = end - (1 << level)
        highest, lowest = self._highest[level], self._lowest[level]
        return max(highest[start], highest[second]), min(lowest[start], lowest[second])
