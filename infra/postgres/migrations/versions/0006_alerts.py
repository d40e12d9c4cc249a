"""Alerts with their last state, and silences."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE alerts (
        id                    text PRIMARY KEY,
        rule                  text NOT NULL,
        kind                  text NOT NULL,
        severity              text NOT NULL,
        account               text NOT NULL,
        subject               text NOT NULL,
        status                text NOT NULL CHECK (status IN ('raised', 'cleared')),
        text                  text NOT NULL,
        raised_time_us        bigint NOT NULL,
        changed_time_us       bigint NOT NULL,
        cleared_time_us       bigint,
        silenced              boolean NOT NULL,
        acknowledged_by       text NOT NULL,
        acknowledged_time_us  bigint,
        told_time_us          bigint,
        targets               text[] NOT NULL
    )
    """,
    "COMMENT ON COLUMN alerts.account IS 'empty where it concerns no single account'",
    "CREATE INDEX alerts_by_time ON alerts (raised_time_us DESC, id DESC)",
    "CREATE INDEX alerts_open ON alerts (account) WHERE status = 'raised'",
    """
    CREATE TABLE alert_silences (
        id        text PRIMARY KEY,
        rule      text NOT NULL,
        account   text NOT NULL,
        until_us  bigint NOT NULL,
        "by"      text NOT NULL,
        reason    text NOT NULL,
        time_us   bigint NOT NULL
    )
    """,
    "COMMENT ON TABLE alert_silences IS 'an empty rule or account stands for all'",
)


def upgrade() -> None:
    connection = op.get_bind()
    for statement in TABLES:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    for table in ("alert_silences", "alerts"):
        connection.exec_driver_sql(f"DROP TABLE {table}")
