"""What can go wrong with the database.

DatabaseError
├── DatabaseUnavailable   it cannot be reached, or not in time; try again
├── SchemaOutdated        it is reached, but its tables are not those of this version
├── JournalGap            the journal that is being written is not the continuation of what is stored
└── RestatementIncomplete   pages of a restatement are missing before its last
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg


class DatabaseError(Exception):
    """Base of the errors of this package."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or did not answer in time."""


class SchemaOutdated(DatabaseError):
    """The tables are missing or of another version; `portfolio migrate` brings them up to date."""


class JournalGap(DatabaseError):
    """An update does not continue what is stored for its account: the updates between are missing.

    Attributes:
        account: The account.
        expected: The sequence of the event that should come next.
        found: The sequence of the event that came.
    """

    def __init__(self, account: str, *, expected: int, found: int) -> None:
        super().__init__(
            f"account {account}: event {expected} should come next, event {found} came; "
            "what is between is on the journal no more: `portfolio rebuild` makes the tables anew from the log"
        )
        self.account = account
        self.expected = expected
        self.found = found


class RestatementIncomplete(DatabaseError):
    """The last page of a restatement came, but pages before it did not."""

    def __init__(self, account: str, correction_id: str, *, pages: int, found: int) -> None:
        super().__init__(
            f"account {account}: {found} of the {pages} pages that trade correction {correction_id} restates are here; "
            "`portfolio rebuild` makes the tables anew from the log"
        )


_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server ends a pooled connection just as it is asked
    asyncpg.TooManyConnectionsError,
    asyncpg.OperatorInterventionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)
_OUTDATED = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what the driver raises for a database that is away or outdated into the errors above."""
    try:
        yield
    except _UNREACHABLE as error:
        raise DatabaseUnavailable(f"the database cannot be reached: {describe(error)}") from error
    except _OUTDATED as error:
        raise SchemaOutdated(f"{error}; run `portfolio migrate`") from error


def describe(error: BaseException) -> str:
    """The error in one line, also when it has no text of its own."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
