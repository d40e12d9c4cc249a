"""Lists in the shape that the reader wants: JSON, CSV, Parquet or Arrow, all columns or a few.

Money stays text in every format: no column type of the others holds an exact decimal of any length, and the type of a
column must not depend on what happens to be in it.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import polars as pl
from fastapi import Depends, Query, Response
from pydantic import TypeAdapter

from api.dependencies import Call
from api.problems import ProblemError
from api.schemas import Answer

Format = Literal["json", "csv", "parquet", "arrow"]

_RowT = TypeVar("_RowT", bound=Answer)

Listed: TypeAlias = list[_RowT] | Response
"""A list as JSON, or the same in another shape."""

_JSON: Final = TypeAdapter(list[dict[str, Any]])
_MEDIA_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
}
_TYPES: Final = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "array": pl.List(pl.String()),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """How a list is to be told.

    Attributes:
        format: The format.
        fields: The columns, in this order; none: all of them.
    """

    format: Format
    fields: tuple[str, ...]


async def shape_of(
    format: Annotated[  # noqa: A002 - the name of the parameter
        Format, Query(description="json, csv, parquet, or arrow (an Arrow IPC file). Money is text in each.")
    ] = "json",
    fields: Annotated[
        str | None,
        Query(
            max_length=1_000,
            pattern=r"^[a-z_]+(,[a-z_]+)*$",
            description="Only these fields, comma-separated, in this order.",
            examples=["time,symbol,price"],
        ),
    ] = None,
) -> Shape:
    """The shape that a request asks for."""
    return Shape(format, () if fields is None else tuple(dict.fromkeys(fields.split(","))))


ShapeOf = Annotated[Shape, Depends(shape_of)]

SHAPES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The list, in the format that was asked for",
        "content": {media.partition(";")[0]: {} for media in _MEDIA_TYPES.values()},
    }
}
"""The formats of a list beside JSON, for its documentation."""


def shaped(call: Call, shape: Shape, model: type[_RowT], rows: Sequence[_RowT]) -> list[_RowT] | Response:
    """A list in the shape that was asked for; its headers are those of the call.

    Args:
        call: The request.
        shape: What it asks for.
        model: What each row is.
        rows: The list.

    Raises:
        ProblemError: A field is none of the list's.
    """
    fields = _fields(shape, model)
    if shape.format == "json" and not shape.fields:
        return list(rows)
    told = [row.model_dump(mode="json", include=set(fields)) for row in rows]
    headers = dict(call.response.headers)
    if shape.format == "json":
        content = _JSON.dump_json([{name: row[name] for name in fields} for row in told])
        return Response(content, headers=headers, media_type="application/json")
    name = call.request.url.path.rpartition("/")[2]
    headers["Content-Disposition"] = f'attachment; filename="{name}.{shape.format}"'
    return Response(
        _written(shape.format, _frame(model, fields, told)), headers=headers, media_type=_MEDIA_TYPES[shape.format]
    )


def _fields(shape: Shape, model: type[Answer]) -> tuple[str, ...]:
    known = tuple(model.model_fields)
    unknown = [name for name in shape.fields if name not in known]
    if unknown:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"fields: {unknown[0]!r} is none of {', '.join(known)}.")
    return shape.fields or known


def _frame(model: type[Answer], fields: Sequence[str], rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The rows as columns, of types that depend on the model only."""
    properties = model.model_json_schema(mode="serialization")["properties"]
    columns = {name: _schema(properties[name]) for name in fields}
    frame = pl.DataFrame(
        {name: pl.Series(name, [row[name] for row in rows], _TYPES[schema["type"]]) for name, schema in columns.items()}
    )
    return frame.with_columns(
        pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC")
        for name, schema in columns.items()
        if schema.get("format") == "date-time"
    )


def _schema(field: dict[str, Any]) -> dict[str, Any]:
    """What a field is when it is not null."""
    options: list[dict[str, Any]] = [option for option in field.get("anyOf", [field]) if option["type"] != "null"]
    return options[0]


def _written(format_: Format, frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    match format_:
        case "parquet":
            frame.write_parquet(buffer)
        case "arrow":
            frame.write_ipc(buffer)
        case _:
            flat = [pl.col(name).list.join(" ") for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
            frame.with_columns(flat).write_csv(buffer, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    return buffer.getvalue()
