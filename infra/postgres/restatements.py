"""What a trade correction restates, kept aside until all of it is there, and put in the place of what was told before.

The pages of a restatement come one by one, and a reader must never see half of them. So they are kept as they come in
a table of their own, and with the last page they replace the account's rows in the one transaction that writes it.
"""

import asyncpg
import msgspec

from infra.postgres.accounts import AccountState, after_restatement, require_sequence
from infra.postgres.errors import RestatementIncomplete
from infra.postgres.rows import Rows
from infra.postgres.statements import store
from portfolio.snapshots import LedgerUpdate, Restatement

_PAGES_AT_ONCE = 200

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LedgerUpdate)

_SEQUENCED = (
    *("fills", "flows", "journal_entries", "valuations", "pnl_snapshots", "warnings", "corrections", "asset_rates"),
    *("book_checkpoints", "positions", "balances"),
)
"""Tables whose rows say of which event they tell, or were told with. What is open, and every balance, comes with the
last page. What the marks made of the account between two events (`pnl_snapshots`) cannot be made again and is gone."""

_STAGE = """
    INSERT INTO restatement_pages (account, log_offset, page, content) VALUES ($1, $2, $3, $4)
    ON CONFLICT (account, log_offset, page) DO NOTHING
"""
_COUNT = "SELECT count(*) FROM restatement_pages WHERE account = $1 AND log_offset = $2 AND page < $3"
_PAGES = "SELECT content FROM restatement_pages WHERE account = $1 AND log_offset = $2 ORDER BY page"
_UNSTAGE = "DELETE FROM restatement_pages WHERE account = $1 AND log_offset <= $2"
_SUM_SYMBOLS = """
    INSERT INTO symbol_totals (account, symbol, realized, fees, volume, fills)
    SELECT account, symbol, sum(realized), sum(fee), coalesce(sum(value) FILTER (WHERE kind = 'fill'), 0),
           count(*) FILTER (WHERE kind = 'fill')
    FROM journal_entries
    WHERE account = $1 AND (kind = 'fill' OR realized <> 0)
    GROUP BY account, symbol
"""

Connection = asyncpg.pool.PoolConnectionProxy


async def stage_page(connection: Connection, restatement: Restatement, page: LedgerUpdate) -> None:
    """Keep a page until the last one comes. The same page twice is once."""
    offset = restatement.position.offset
    await connection.execute(_STAGE, page.account, offset, restatement.page, _encoder.encode(page))


async def restate(
    connection: Connection, state: AccountState | None, restatement: Restatement, last: LedgerUpdate
) -> AccountState:
    """Put a restatement in the place of what was told of the account before.

    Args:
        connection: In a transaction that has locked the account.
        state: The account as it is stored.
        restatement: What the last page says of it.
        last: The last page.

    Raises:
        JournalGap: What is stored does not end where the restatement begins to count.
        RestatementIncomplete: Pages are missing.
    """
    account, offset = last.account, restatement.position.offset
    require_sequence(state, account, restatement.previous_sequence)
    staged = await connection.fetchval(_COUNT, account, offset, restatement.page)
    if staged != restatement.page:
        raise RestatementIncomplete(account, restatement.correction_id, pages=restatement.page, found=staged)
    await _delete_from(connection, account, restatement.first_sequence)
    rows = Rows()
    pages = 0
    async for row in connection.cursor(_PAGES, account, offset, prefetch=_PAGES_AT_ONCE):
        rows.add(_decoder.decode(row["content"]))
        pages += 1
        if pages % _PAGES_AT_ONCE == 0:
            await store(connection, rows)
            rows = Rows()
    rows.add(last)
    await store(connection, rows)
    await connection.execute("DELETE FROM symbol_totals WHERE account = $1", account)
    await connection.execute(_SUM_SYMBOLS, account)
    await connection.execute(_UNSTAGE, account, offset)
    return after_restatement(state, last)


async def _delete_from(connection: Connection, account: str, sequence: int) -> None:
    for table in _SEQUENCED:
        await connection.execute(f"DELETE FROM {table} WHERE account = $1 AND sequence >= $2", account, sequence)  # noqa: S608 - fixed names
    await connection.execute("DELETE FROM event_pages WHERE account = $1 AND last_sequence >= $2", account, sequence)
