"""What bots announced, which fills it explains, and what does not fit."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE executions (
        account          text NOT NULL,
        identity         text NOT NULL,
        symbol           text NOT NULL,
        side             text NOT NULL,
        price            numeric NOT NULL,
        quantity         numeric NOT NULL,
        fee              numeric,
        fee_asset        text NOT NULL,
        trade_id         bigint,
        order_id         bigint,
        client_order_id  text NOT NULL,
        strategy         text NOT NULL,
        cycle_id         text NOT NULL,
        event_time_us    bigint NOT NULL,
        source           text NOT NULL,
        log_offset       bigint NOT NULL,
        arrived_time_us  bigint NOT NULL,
        verdict          text NOT NULL DEFAULT 'pending',
        checked_time_us  bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (account, identity)
    )
    """,
    "COMMENT ON COLUMN executions.identity IS 'what two announcements of one execution have in common'",
    "COMMENT ON COLUMN executions.log_offset IS 'of its first announcement in portfolio.executions'",
    "CREATE INDEX executions_to_check ON executions (checked_time_us) WHERE verdict <> 'matched'",
    """
    CREATE TABLE fill_attributions (
        account   text NOT NULL,
        symbol    text NOT NULL,
        trade_id  bigint NOT NULL,
        order_id  bigint NOT NULL,
        strategy  text NOT NULL,
        cycle_id  text NOT NULL,
        identity  text NOT NULL,
        PRIMARY KEY (account, symbol, trade_id, order_id)
    )
    """,
    "COMMENT ON TABLE fill_attributions IS 'the strategy and cycle of fills that a bot announced'",
    "CREATE INDEX fill_attributions_by_strategy ON fill_attributions (account, strategy, cycle_id)",
    """
    CREATE TABLE execution_findings (
        account          text NOT NULL,
        identity         text NOT NULL,
        symbol           text NOT NULL,
        finding          text NOT NULL,
        trade_id         bigint,
        order_id         bigint,
        strategy         text NOT NULL,
        cycle_id         text NOT NULL,
        detail           text NOT NULL,
        found_time_us    bigint NOT NULL,
        cleared_time_us  bigint,
        is_published     boolean NOT NULL DEFAULT false,
        PRIMARY KEY (account, identity)
    )
    """,
    "CREATE INDEX execution_findings_to_publish ON execution_findings (found_time_us) WHERE NOT is_published",
    "CREATE INDEX execution_findings_open ON execution_findings (account, found_time_us) WHERE cleared_time_us IS NULL",
    """
    CREATE TABLE execution_progress (
        account        text PRIMARY KEY,
        fill_time_us   bigint NOT NULL,
        fill_sequence  bigint NOT NULL
    )
    """,
    "COMMENT ON TABLE execution_progress IS 'up to which fill it was looked whether a bot announced it'",
    "CREATE INDEX fills_by_order ON fills (account, symbol, order_id)",
    "CREATE INDEX fills_by_client_order ON fills (account, client_order_id) WHERE client_order_id <> ''",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them, and what was added to fills."""
    op.execute("DROP INDEX fills_by_order, fills_by_client_order")
    op.execute("DROP TABLE executions, fill_attributions, execution_findings, execution_progress")
