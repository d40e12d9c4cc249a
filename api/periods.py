"""The parameter `period`, which several routes share."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Query

from api.problems import ProblemError
from portfolio.performance import PERIOD_PATTERN, PERIODS, period_start_time_us

PeriodQuery = Annotated[
    str,
    Query(
        max_length=10,
        description=f"How far back: {', '.join(PERIODS)}, or any number of hours, days, weeks or years (12h, 2w).",
        # Told only: `require_known` says what else there is.
        json_schema_extra={"pattern": PERIOD_PATTERN},
    ),
]


def require_known(period: str) -> None:
    """Return if the period can be understood.

    Raises:
        ProblemError: It cannot.
    """
    try:
        period_start_time_us(period, 0)
    except ValueError as error:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error}.") from error
