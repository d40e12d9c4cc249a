"""What makes the past readable: the events as they were booked, the book now and then, and the rates of the time."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE event_pages (
        account         text NOT NULL,
        first_sequence  bigint NOT NULL,
        last_sequence   bigint NOT NULL,
        log_partition   integer NOT NULL,
        log_offset      bigint NOT NULL,
        oldest_time_us  bigint NOT NULL,
        newest_time_us  bigint NOT NULL,
        events          bytea NOT NULL,
        PRIMARY KEY (account, first_sequence)
    )
    """,
    "COMMENT ON COLUMN event_pages.events IS 'MessagePack: the events first_sequence to last_sequence, in order'",
    "CREATE INDEX event_pages_by_position ON event_pages (account, log_offset)",
    """
    CREATE TABLE book_checkpoints (
        account   text NOT NULL,
        sequence  bigint NOT NULL,
        book      bytea NOT NULL,
        PRIMARY KEY (account, sequence)
    )
    """,
    """
    CREATE TABLE asset_rates (
        account   text NOT NULL,
        asset     text NOT NULL,
        time_us   bigint NOT NULL,
        sequence  bigint NOT NULL,
        rate      numeric NOT NULL,
        PRIMARY KEY (account, asset, time_us, sequence)
    )
    """,
    "COMMENT ON TABLE asset_rates IS 'rates of the valuation points, to the reporting currency of the account'",
)


def upgrade() -> None:
    connection = op.get_bind()
    for statement in TABLES:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    for table in ("asset_rates", "book_checkpoints", "event_pages"):
        connection.exec_driver_sql(f"DROP TABLE {table}")
