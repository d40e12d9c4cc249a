"""The first tables: accounts and what their journal says.

Money is `numeric` without precision: it keeps every digit. Times are bigint, epoch microseconds.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FILL_SHARDS = 8

TABLES = (
    """
    CREATE TABLE accounts (
        account         text PRIMARY KEY,
        reporting       text NOT NULL,
        sequence        bigint NOT NULL,
        log_partition   integer NOT NULL,
        log_offset      bigint NOT NULL,
        event_time_us   bigint NOT NULL,
        valued_time_us  bigint NOT NULL,
        net_flows       numeric NOT NULL,
        realized        numeric NOT NULL,
        fees            numeric NOT NULL,
        twr_index       numeric NOT NULL,
        drawdown        numeric NOT NULL,
        max_drawdown    numeric NOT NULL,
        duplicates      bigint NOT NULL,
        conflicts       bigint NOT NULL,
        book_marks      jsonb NOT NULL,
        marks           jsonb NOT NULL
    )
    """,
    "COMMENT ON COLUMN accounts.book_marks IS 'asset to price, as the book knew it at log_offset; decimals as strings'",
    "COMMENT ON COLUMN accounts.marks IS 'asset to price, the newest known; decimals as strings'",
    """
    CREATE TABLE balances (
        account           text NOT NULL,
        asset             text NOT NULL,
        quantity          numeric NOT NULL,
        cost              numeric NOT NULL,
        average_cost      numeric,
        free              numeric,
        locked            numeric,
        exchange_time_us  bigint,
        difference        numeric NOT NULL,
        reason            text NOT NULL,
        sequence          bigint NOT NULL,
        PRIMARY KEY (account, asset)
    )
    """,
    """
    CREATE TABLE positions (
        account           text NOT NULL,
        id                text NOT NULL,
        asset             text NOT NULL,
        symbol            text NOT NULL,
        symbols           text[] NOT NULL,
        side              text NOT NULL,
        status            text NOT NULL CHECK (status IN ('open', 'closed')),
        quantity          numeric NOT NULL,
        peak_quantity     numeric NOT NULL,
        entry_price       numeric,
        exit_price        numeric,
        cost              numeric NOT NULL,
        realized          numeric NOT NULL,
        fees              numeric NOT NULL,
        fills             bigint NOT NULL,
        missing_quantity  numeric NOT NULL,
        open_time_us      bigint NOT NULL,
        close_time_us     bigint,
        sequence          bigint NOT NULL,
        PRIMARY KEY (account, id)
    )
    """,
    "CREATE INDEX positions_by_status ON positions (account, status, open_time_us DESC)",
    "CREATE INDEX positions_by_symbol ON positions (account, symbol, open_time_us DESC)",
    "CREATE INDEX positions_by_close ON positions (account, close_time_us) WHERE close_time_us IS NOT NULL",
    """
    CREATE TABLE fills (
        symbol           text NOT NULL,
        account          text NOT NULL,
        execution        text NOT NULL,
        trade_id         bigint NOT NULL,
        order_id         bigint NOT NULL,
        time_us          bigint NOT NULL,
        sequence         bigint NOT NULL,
        side             text NOT NULL CHECK (side IN ('BUY', 'SELL')),
        price            numeric NOT NULL,
        quantity         numeric NOT NULL,
        quote_quantity   numeric NOT NULL,
        value            numeric NOT NULL,
        realized         numeric NOT NULL,
        fee              numeric NOT NULL,
        fee_asset        text NOT NULL,
        fee_value        numeric NOT NULL,
        maker            boolean NOT NULL,
        client_order_id  text NOT NULL,
        strategy         text NOT NULL,
        cycle_id         text NOT NULL,
        PRIMARY KEY (symbol, account, execution, trade_id, order_id)
    ) PARTITION BY HASH (symbol)
    """,
    *(
        f"CREATE TABLE fills_{shard} PARTITION OF fills FOR VALUES WITH (MODULUS {FILL_SHARDS}, REMAINDER {shard})"
        for shard in range(FILL_SHARDS)
    ),
    "CREATE INDEX fills_by_account ON fills (account, time_us DESC, sequence DESC)",
    "CREATE INDEX fills_by_symbol ON fills (symbol, time_us DESC, sequence DESC)",
    """
    CREATE TABLE flows (
        account   text NOT NULL,
        id        text NOT NULL,
        time_us   bigint NOT NULL,
        sequence  bigint NOT NULL,
        asset     text NOT NULL,
        quantity  numeric NOT NULL,
        kind      text NOT NULL,
        value     numeric NOT NULL,
        PRIMARY KEY (account, id)
    )
    """,
    "COMMENT ON COLUMN flows.value IS 'market value, negative for what went out; reporting currency'",
    "CREATE INDEX flows_by_time ON flows (account, time_us DESC, sequence DESC)",
    """
    CREATE TABLE journal_entries (
        account   text NOT NULL,
        sequence  bigint NOT NULL,
        leg       integer NOT NULL,
        time_us   bigint NOT NULL,
        kind      text NOT NULL,
        symbol    text NOT NULL,
        value     numeric NOT NULL,
        flow      numeric NOT NULL,
        realized  numeric NOT NULL,
        fee       numeric NOT NULL,
        postings  jsonb NOT NULL,
        PRIMARY KEY (account, sequence, leg)
    )
    """,
    "CREATE INDEX journal_entries_by_time ON journal_entries (account, time_us)",
    """
    CREATE TABLE valuations (
        account   text NOT NULL,
        time_us   bigint NOT NULL,
        sequence  bigint NOT NULL,
        equity    numeric NOT NULL,
        inflow    numeric NOT NULL,
        outflow   numeric NOT NULL,
        index     numeric NOT NULL,
        drawdown  numeric NOT NULL,
        PRIMARY KEY (account, time_us, sequence)
    ) PARTITION BY RANGE (time_us)
    """,
    """
    CREATE TABLE pnl_snapshots (
        account     text NOT NULL,
        time_us     bigint NOT NULL,
        sequence    bigint NOT NULL,
        equity      numeric NOT NULL,
        net_flows   numeric NOT NULL,
        realized    numeric NOT NULL,
        unrealized  numeric NOT NULL,
        fees        numeric NOT NULL,
        twr_index   numeric NOT NULL,
        drawdown    numeric NOT NULL,
        PRIMARY KEY (account, time_us, sequence)
    ) PARTITION BY RANGE (time_us)
    """,
    """
    CREATE TABLE symbol_totals (
        account   text NOT NULL,
        symbol    text NOT NULL,
        realized  numeric NOT NULL,
        fees      numeric NOT NULL,
        volume    numeric NOT NULL,
        fills     bigint NOT NULL,
        PRIMARY KEY (account, symbol)
    )
    """,
    """
    CREATE TABLE warnings (
        account   text NOT NULL,
        sequence  bigint NOT NULL,
        number    integer NOT NULL,
        time_us   bigint NOT NULL,
        message   text NOT NULL,
        PRIMARY KEY (account, sequence, number)
    )
    """,
    """
    CREATE TABLE sink_offsets (
        topic        text NOT NULL,
        partition    integer NOT NULL,
        next_offset  bigint NOT NULL,
        PRIMARY KEY (topic, partition)
    )
    """,
)


def upgrade() -> None:
    connection = op.get_bind()
    for statement in TABLES:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    for table in (
        "sink_offsets",
        "warnings",
        "symbol_totals",
        "pnl_snapshots",
        "valuations",
        "journal_entries",
        "flows",
        "fills",
        "positions",
        "balances",
        "accounts",
    ):
        connection.exec_driver_sql(f"DROP TABLE {table}")
