"""Keys to the API, and the role that the API reads as."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE access_keys (
        id               text PRIMARY KEY,
        name             text NOT NULL,
        scopes           text[] NOT NULL,
        accounts         text[],
        created_time_us  bigint NOT NULL,
        expires_time_us  bigint,
        revoked_time_us  bigint,
        hash             text NOT NULL
    )
    """,
    "COMMENT ON COLUMN access_keys.hash IS 'Argon2id; the key itself is stored nowhere'",
    "COMMENT ON COLUMN access_keys.accounts IS 'what it may see; null: every account'",
    # Roles belong to the server, not to the database: another database of the same server may have made it.
    """
    DO $$
    BEGIN
        CREATE ROLE portfolio_reader LOGIN;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL;
        WHEN insufficient_privilege THEN
            RAISE NOTICE 'this role may not create portfolio_reader; docs/operations.md has the statements';
    END
    $$
    """,
    """
    DO $$
    BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'portfolio_reader') THEN
            GRANT USAGE ON SCHEMA public TO portfolio_reader;
            GRANT SELECT ON ALL TABLES IN SCHEMA public TO portfolio_reader;
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO portfolio_reader;
        END IF;
    END
    $$
    """,
)


def upgrade() -> None:
    connection = op.get_bind()
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    op.get_bind().exec_driver_sql("DROP TABLE access_keys")
