"""The audit trail, what waits to go there, and the configuration that each part last had."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE audit_entries (
        log_offset  bigint PRIMARY KEY,
        id          text NOT NULL,
        time_us     bigint NOT NULL,
        kind        text NOT NULL,
        action      text NOT NULL,
        actor       text NOT NULL,
        account     text NOT NULL,
        subject     text NOT NULL,
        details     jsonb NOT NULL,
        record      bytea NOT NULL,
        hash        bytea NOT NULL
    )
    """,
    "COMMENT ON COLUMN audit_entries.record IS 'the bytes on portfolio.audit; empty where they are no value'",
    "COMMENT ON COLUMN audit_entries.hash IS 'SHA-256 over the hash before, the offset and the record'",
    "CREATE INDEX audit_entries_by_id ON audit_entries (id, log_offset)",
    "CREATE INDEX audit_entries_by_kind ON audit_entries (kind, log_offset DESC)",
    """
    CREATE TABLE audit_outbox (
        number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        record  bytea NOT NULL
    )
    """,
    """
    CREATE TABLE audit_configurations (
        part      text PRIMARY KEY,
        settings  jsonb NOT NULL
    )
    """,
)


def upgrade() -> None:
    connection = op.get_bind()
    for statement in TABLES:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    for table in ("audit_configurations", "audit_outbox", "audit_entries"):
        connection.exec_driver_sql(f"DROP TABLE {table}")
