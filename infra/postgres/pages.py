"""Long lists are read page by page, each from where the one before ended, so that no page is read twice or missed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeAlias, TypeVar

import msgspec

TIME_US_MAX = 2**63 - 1

Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=TIME_US_MAX)]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")]

LineT = TypeVar("LineT")
KeyT = TypeVar("KeyT")


class EventKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The place of a fill or a flow among those of all accounts, newest first."""

    time_us: Integer
    sequence: Integer
    account: Name
    id: Name = ""


class PositionKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The place of a position, newest first: a closed one by its end, an open one by its start.

    Attributes:
        as_of_us: When the first page was read, by the log. A position that closed since keeps the place that it had,
            or the rest of the list would not show it.
    """

    as_of_us: Integer
    time_us: Integer
    id: Name
    account: Name


class AuditKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The place of an entry of the audit trail, newest first."""

    offset: Integer


class AlertKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The place of an alert, those raised last first."""

    raised_time_us: Integer
    id: Name


@dataclass(frozen=True, slots=True)
class Page(Generic[LineT, KeyT]):
    """Some lines of a list.

    Attributes:
        last: The place of the last of them; None when the list ends here.
    """

    lines: Sequence[LineT]
    last: KeyT | None


def page_of(lines: Sequence[LineT], limit: int, key: Callable[[LineT], KeyT]) -> Page[LineT, KeyT]:
    """The first `limit` of the lines; there is one more if the list goes on."""
    shown = lines[:limit]
    return Page(shown, key(shown[-1]) if len(lines) > limit else None)
