"""Returns by calendar bucket: day, week or month, in UTC."""

import msgspec
import polars as pl

from portfolio.performance.metric import UndefinedError
from portfolio.performance.returns import growth_index

BUCKETS = {"day": "1d", "week": "1w", "month": "1mo"}
"""The buckets; a week begins on Monday."""


class BucketReturn(msgspec.Struct, frozen=True, kw_only=True):
    """The time-weighted return of one bucket of time.

    Attributes:
        start_time_us: Start of the bucket, epoch microseconds.
        end_time_us: End of the bucket, where the next begins.
        value: prod(1 + r) - 1 over the stretches that end in the bucket, its end included; None if one is undefined.
        is_complete: Whether a point at or after the end of the bucket is known.
    """

    start_time_us: int
    end_time_us: int
    value: float | None
    is_complete: bool


def bucket_returns(linked: pl.DataFrame, bucket: str) -> list[BucketReturn]:
    """Link the returns between valuation points by calendar bucket, oldest first.

    A stretch belongs to the bucket in which it ends; one that ends exactly where a bucket ends belongs to that bucket.
    Buckets in which no stretch ends are left out.

    Args:
        linked: What `link_points` returned.
        bucket: day, week or month.

    Raises:
        ValueError: The bucket is not known.
    """
    if (every := BUCKETS.get(bucket)) is None:
        raise ValueError(f"bucket {bucket!r} is not known; use one of {', '.join(BUCKETS)}")
    if linked.is_empty():
        return []
    last_us = int(linked["end_time_us"].item(-1))
    within = (pl.max_horizontal(pl.col("end_time_us") - 1, pl.col("start_time_us"))).cast(pl.Datetime("us"))
    grouped = (
        linked.with_columns(start=within.dt.truncate(every))
        .group_by("start", maintain_order=True)
        .agg(pl.col("return"))
        .with_columns(end=pl.col("start").dt.offset_by(every))
        .sort("start")
    )
    return [
        BucketReturn(
            start_time_us=start_us,
            end_time_us=end_us,
            value=_linked(returns),
            is_complete=last_us >= end_us,
        )
        for start_us, end_us, returns in zip(
            grouped["start"].dt.epoch("us").to_list(),
            grouped["end"].dt.epoch("us").to_list(),
            grouped["return"].to_list(),
            strict=True,
        )
    ]


def _linked(returns: list[float]) -> float | None:
    try:
        return float(growth_index(returns).item(-1)) - 1
    except UndefinedError:
        return None
