import pytest

from infra.backoff import backoff_s


@pytest.mark.parametrize(("attempt", "limit"), [(0, 0.5), (1, 1.0), (3, 4.0), (4, 8.0), (5, 10.0), (10_000, 10.0)])
def test_waits_double_up_to_the_limit_and_stay_in_its_upper_half(attempt: int, limit: float) -> None:
    waits = {backoff_s(attempt, first_s=0.5, longest_s=10.0) for _ in range(200)}
    assert all(limit / 2 <= wait <= limit for wait in waits)
    assert len(waits) > 1
