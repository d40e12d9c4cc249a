"""What the reader asks. `$1` is the names of the accounts of the view, or the one that is asked about.

A view of the past has seen each account up to a sequence: the parameter of type `bigint[]`, null for the present.
"""

from typing import Final

from infra.postgres.accounts import ACCOUNT_COLUMNS

SELECT_ACCOUNTS: Final = (
    f"SELECT {', '.join(ACCOUNT_COLUMNS)} FROM accounts "  # noqa: S608 - fixed names
    "WHERE $1::text[] IS NULL OR account = ANY($1) ORDER BY account"
)
SELECT_BALANCES: Final = """
    SELECT account, asset, quantity, cost, average_cost, free, locked, exchange_time_us, difference, reason
    FROM balances
    WHERE account = ANY($1) AND (quantity <> 0 OR cost <> 0 OR free <> 0 OR locked <> 0 OR difference <> 0)
"""
SELECT_POSITIONS: Final = """
    SELECT account, id, asset, symbol, symbols, side, status, quantity, peak_quantity, entry_price, exit_price, cost,
           realized, fees, fills, missing_quantity, open_time_us, close_time_us, revision
    FROM positions
    WHERE account = ANY($1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR $3 = ANY(symbols))
      AND ($6::bigint IS NULL OR (
          (CASE WHEN close_time_us <= $5 THEN close_time_us ELSE open_time_us END, id, account) < ($6, $7, $8)
          AND ($2 IS DISTINCT FROM 'closed' OR close_time_us <= $5)
      ))
      AND ($9::bigint[] IS NULL OR sequence <= ($9::bigint[])[array_position($1, account)])
    ORDER BY CASE WHEN close_time_us <= $5 THEN close_time_us ELSE open_time_us END DESC, id DESC, account DESC
    LIMIT $4
"""
SELECT_SYMBOLS: Final = """
    SELECT symbol, sum(realized) AS realized, sum(fees) AS fees, sum(volume) AS volume, sum(fills)::bigint AS fills
    FROM symbol_totals
    WHERE account = ANY($1)
    GROUP BY symbol
"""
SELECT_FILLS: Final = """
    SELECT account, symbol, execution, trade_id, order_id, time_us, sequence, side, price, quantity, quote_quantity,
           value, realized, fee, fee_asset, fee_value, maker, revision,
           coalesce(nullif(fills.strategy, ''), told.strategy, '') AS strategy,
           coalesce(nullif(fills.cycle_id, ''), told.cycle_id, '') AS cycle_id
    FROM fills LEFT JOIN fill_attributions told USING (account, symbol, trade_id, order_id)
    WHERE account = ANY($1) AND ($2::text IS NULL OR symbol = $2)
      AND ($4::bigint IS NULL OR (time_us, sequence, account) < ($4, $5, $6))
      AND ($7::bigint[] IS NULL OR sequence <= ($7::bigint[])[array_position($1, account)])
    ORDER BY time_us DESC, sequence DESC, account DESC
    LIMIT $3
"""
SELECT_FLOWS: Final = """
    SELECT account, id, time_us, sequence, asset, quantity, kind, value
    FROM flows
    WHERE account = ANY($1) AND ($3::bigint IS NULL OR (time_us, sequence, account, id) < ($3, $4, $5, $6))
      AND ($7::bigint[] IS NULL OR sequence <= ($7::bigint[])[array_position($1, account)])
    ORDER BY time_us DESC, sequence DESC, account DESC, id DESC
    LIMIT $2
"""
SELECT_FEES: Final = """
    SELECT fee_asset AS asset, sum(fee) AS quantity, sum(fee_value) AS value, count(*) AS fills
    FROM fills
    WHERE account = ANY($1) AND fee <> 0
      AND ($2::bigint[] IS NULL OR sequence <= ($2::bigint[])[array_position($1, account)])
    GROUP BY fee_asset
    ORDER BY value DESC, asset
"""
SELECT_FIRST_POINT: Final = """
    SELECT least(
        (SELECT min(time_us) FROM valuations WHERE account = ANY($1) AND time_us BETWEEN $2 AND $3),
        (SELECT min(time_us) FROM pnl_snapshots WHERE account = ANY($1) AND time_us BETWEEN $2 AND $3)
    )
"""
SELECT_EQUITY: Final = """
    SELECT account, time_us, equity
    FROM (
        SELECT DISTINCT ON (account, (time_us - $2) / $3) account, time_us, equity
        FROM (
            SELECT account, time_us, sequence, equity FROM valuations
            WHERE account = ANY($1) AND time_us BETWEEN $2 AND $5
              AND ($6::bigint[] IS NULL OR sequence <= ($6::bigint[])[array_position($1, account)])
            UNION ALL
            SELECT account, time_us, sequence, equity FROM pnl_snapshots
            WHERE $4 AND account = ANY($1) AND time_us BETWEEN $2 AND $5
              AND ($6::bigint[] IS NULL OR sequence <= ($6::bigint[])[array_position($1, account)])
        ) AS points
        ORDER BY account, (time_us - $2) / $3, time_us DESC, sequence DESC
    ) AS last_of_interval
    ORDER BY time_us, account
"""
SELECT_VALUATIONS: Final = """
    SELECT account, time_us, sequence, equity, inflow, outflow
    FROM valuations
    WHERE account = $1 AND sequence <= $3 AND time_us >= coalesce(
        (SELECT max(time_us) FROM valuations WHERE account = $1 AND time_us <= $2 AND sequence <= $3), $2
    )
    ORDER BY time_us, sequence
"""
SUM_JOURNAL: Final = """
    SELECT coalesce(sum(flow), 0) AS flow,
           coalesce(sum(realized), 0) AS realized,
           coalesce(sum(flow) FILTER (WHERE flow > 0 AND kind IN ('flow', 'opening')), 0) AS inflow,
           coalesce(-sum(flow) FILTER (WHERE flow < 0 AND kind IN ('flow', 'opening')), 0) AS outflow
    FROM journal_entries
    WHERE account = $1 AND sequence > $2 AND sequence <= $3
"""
SELECT_ROUND_TRIPS: Final = """
    SELECT realized
    FROM positions
    WHERE account = ANY($1) AND close_time_us >= $2 AND (missing_quantity = 0 OR missing_quantity < peak_quantity)
      AND ($3::bigint[] IS NULL OR sequence <= ($3::bigint[])[array_position($1, account)])
    ORDER BY close_time_us, id
"""
COUNT_OPEN_POSITIONS: Final = "SELECT count(*) FROM positions WHERE account = ANY($1) AND status = 'open'"
COUNT_WARNINGS: Final = """
    SELECT count(*) FROM warnings WHERE account = ANY($1)
      AND ($2::bigint[] IS NULL OR sequence <= ($2::bigint[])[array_position($1, account)])
"""
SELECT_OPENERS: Final = "SELECT account, asset, symbol FROM positions WHERE account = ANY($1) AND status = 'open'"
SELECT_CHECKPOINT: Final = """
    (SELECT sequence, book FROM book_checkpoints WHERE account = $1 AND sequence <= $2 ORDER BY sequence DESC LIMIT 1)
    UNION ALL
    (SELECT sequence, book FROM book_checkpoints WHERE account = $1 AND sequence > $2 ORDER BY sequence LIMIT 1)
    ORDER BY sequence
    LIMIT 1
"""
"""The last checkpoint up to an event, or the first after it."""
SELECT_PAGES: Final = """
    SELECT first_sequence, log_partition, log_offset, events
    FROM event_pages
    WHERE account = $1 AND first_sequence > $2 AND first_sequence <= $3
    ORDER BY first_sequence
    LIMIT $4
"""
SELECT_PAGE_AFTER: Final = """
    SELECT first_sequence, events
    FROM event_pages
    WHERE account = $1 AND newest_time_us > $2
    ORDER BY first_sequence
    LIMIT 1
"""
SELECT_SEQUENCE_AT: Final = """
    SELECT last_sequence
    FROM event_pages
    WHERE account = $1 AND log_offset <= $2
    ORDER BY log_offset DESC
    LIMIT 1
"""
SELECT_SPANS: Final = """
    SELECT asset, open_time_us, close_time_us
    FROM positions
    WHERE account = $1 AND symbol = $2 AND open_time_us <= (
        SELECT max(newest_time_us) FROM event_pages WHERE account = $1 AND first_sequence <= $3
    )
    ORDER BY open_time_us
"""
SELECT_SYMBOL_MOVES: Final = """
    SELECT entry.sequence, min(entry.time_us) AS time_us,
           coalesce(sum(moved.quantity), 0) AS quantity, coalesce(sum(moved.cost), 0) AS cost,
           coalesce(sum(moved.value), 0) AS value,
           coalesce(sum(entry.realized) FILTER (WHERE entry.symbol = $3), 0) AS realized
    FROM journal_entries AS entry
    LEFT JOIN LATERAL (
        SELECT sum(quantity) AS quantity, sum(cost) AS cost, sum(value) AS value
        FROM jsonb_to_recordset(entry.postings) AS posting (asset text, quantity numeric, cost numeric, value numeric)
        WHERE asset = $2
    ) AS moved ON true
    WHERE entry.account = $1 AND entry.sequence > $4 AND entry.sequence <= $5
      AND (entry.symbol = $3 OR moved.quantity IS NOT NULL)
    GROUP BY entry.sequence
    ORDER BY entry.sequence
"""
SELECT_RATES: Final = """
    SELECT time_us, sequence, rate
    FROM asset_rates
    WHERE account = $1 AND asset = $2 AND sequence > $3 AND sequence <= $4
    ORDER BY sequence
"""
SELECT_ASSET_RATES: Final = """
    SELECT DISTINCT ON (time_us) time_us, rate
    FROM asset_rates
    WHERE account = ANY($1) AND asset = $2 AND rate > 0
      AND ($3::bigint[] IS NULL OR sequence <= ($3::bigint[])[array_position($1, account)])
    ORDER BY time_us, account, sequence
"""
SELECT_STRATEGIES: Final = """
    SELECT strategy, sum(realized) AS realized, sum(fee_value) AS fees, sum(value) AS volume, count(*) AS fills,
           count(DISTINCT cycle_id) FILTER (WHERE cycle_id <> '') AS cycles,
           min(time_us) AS first_time_us, max(time_us) AS last_time_us
    FROM (
        SELECT account, sequence, time_us, realized, fee_value, value,
               coalesce(nullif(fills.strategy, ''), told.strategy, '') AS strategy,
               coalesce(nullif(fills.cycle_id, ''), told.cycle_id, '') AS cycle_id
        FROM fills LEFT JOIN fill_attributions told USING (account, symbol, trade_id, order_id)
    ) AS attributed
    WHERE account = ANY($1) AND ($2::bigint[] IS NULL OR sequence <= ($2::bigint[])[array_position($1, account)])
    GROUP BY strategy
    ORDER BY realized DESC, strategy
"""
