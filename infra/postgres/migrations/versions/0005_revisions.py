"""What trade corrections restated: which rows, by which correction, and the pages of a restatement under way."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_RESTATED = ("fills", "flows", "journal_entries", "valuations", "positions")

CHANGES = (
    "ALTER TABLE accounts ADD COLUMN revision integer NOT NULL DEFAULT 0, ADD COLUMN checksum text NOT NULL DEFAULT ''",
    "COMMENT ON COLUMN accounts.revision IS 'how many trade corrections the account takes into account'",
    "COMMENT ON COLUMN accounts.checksum IS 'BLAKE2b of the encoded book at log_offset'",
    *(f"ALTER TABLE {table} ADD COLUMN revision integer NOT NULL DEFAULT 0" for table in _RESTATED),
    *(
        f"COMMENT ON COLUMN {table}.revision IS 'the last trade correction, counted from 1, that restated it; 0: none'"
        for table in _RESTATED
    ),
    "ALTER TABLE fills ADD COLUMN correction text NOT NULL DEFAULT ''",
    "COMMENT ON COLUMN fills.correction IS 'id of the trade correction that made it what it is'",
    """
    CREATE TABLE corrections (
        account        text NOT NULL,
        id             text NOT NULL,
        sequence       bigint NOT NULL,
        time_us        bigint NOT NULL,
        symbol         text NOT NULL,
        execution      text NOT NULL,
        trade_id       bigint NOT NULL,
        order_id       bigint NOT NULL,
        replacement    jsonb,
        flows          text[] NOT NULL,
        author         text NOT NULL,
        reason         text NOT NULL,
        restated_from  bigint NOT NULL,
        PRIMARY KEY (account, id)
    )
    """,
    "COMMENT ON COLUMN corrections.replacement IS 'the fill as it should have been; null: it was cancelled'",
    "COMMENT ON COLUMN corrections.restated_from IS 'sequence of the first event that it changed; 0: none'",
    """
    CREATE TABLE restatement_pages (
        account     text NOT NULL,
        log_offset  bigint NOT NULL,
        page        bigint NOT NULL,
        content     bytea NOT NULL,
        PRIMARY KEY (account, log_offset, page)
    )
    """,
)


def upgrade() -> None:
    connection = op.get_bind()
    for statement in CHANGES:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    for table in ("restatement_pages", "corrections"):
        connection.exec_driver_sql(f"DROP TABLE {table}")
    connection.exec_driver_sql("ALTER TABLE fills DROP COLUMN correction")
    connection.exec_driver_sql("ALTER TABLE accounts DROP COLUMN revision, DROP COLUMN checksum")
    for table in _RESTATED:
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN revision")
