"""What could not be read or booked, for whoever looks at the service over the API."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    connection.exec_driver_sql(
        """
        CREATE TABLE dead_letters (
            letter_partition  integer NOT NULL,
            letter_offset     bigint NOT NULL,
            topic             text NOT NULL,
            partition         integer NOT NULL,
            log_offset        bigint NOT NULL,
            time_us           bigint NOT NULL,
            key               text NOT NULL,
            bytes             bigint NOT NULL,
            reason            text NOT NULL,
            PRIMARY KEY (letter_partition, letter_offset)
        )
        """
    )
    connection.exec_driver_sql(
        "CREATE INDEX dead_letters_by_time ON dead_letters (time_us DESC, letter_partition, letter_offset)"
    )


def downgrade() -> None:
    op.get_bind().exec_driver_sql("DROP TABLE dead_letters")
