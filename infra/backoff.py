"""How long to wait before another attempt, one rule for everybody who waits for something that is away."""

import random

_DOUBLINGS_MAX = 16


def backoff_s(attempt: int, *, first_s: float, longest_s: float) -> float:
    """Seconds to wait: doubling up to a limit, with jitter over the upper half so that many do not return at once.

    Args:
        attempt: How many attempts have failed before this one.
        first_s: The limit of the first wait.
        longest_s: The limit of every wait.
    """
    limit = min(longest_s, first_s * float(2 ** min(attempt, _DOUBLINGS_MAX)))
    return limit * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
