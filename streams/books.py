"""The books of this worker's partitions, decoded, for whoever looks at them again and again.

The table is the truth and this is a view of it: rebuilt from the table after each rebalance, kept current by the
ledger agent. Valuing every account on every page of marks would otherwise decode every book each time.
"""

from collections import defaultdict
from collections.abc import Mapping

from portfolio import Book, decode_book
from streams.tables import BookTable, is_account_key


class BookView:
    """Account to book, for each partition that this worker has."""

    def __init__(self, table: BookTable[bytes, bytes]) -> None:
        self._table = table
        self._books: defaultdict[int, dict[str, Book]] | None = None
        table.on_recover(self._forget)

    def of_partition(self, partition: int) -> Mapping[str, Book]:
        """The books of a partition.

        Raises:
            InvalidBook: The table holds a value that is no book.
        """
        if self._books is None:
            self._books = self._read()
        return self._books[partition]

    def put(self, partition: int, book: Book) -> None:
        """Note that a book was written to the table."""
        if self._books is not None:
            self._books[partition][book.account] = book

    async def _forget(self) -> None:
        """Partitions came and went; what is needed is read again when it is asked for."""
        self._books = None

    def _read(self) -> defaultdict[int, dict[str, Book]]:
        books: defaultdict[int, dict[str, Book]] = defaultdict(dict)
        for key, value in self._table.items():
            if is_account_key(key):
                book = decode_book(value)
                if book.position is not None:
                    books[book.position.partition][book.account] = book
        return books
