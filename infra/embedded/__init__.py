"""Real Kafka, Postgres and Redis as child processes of this machine, with no Docker and no root needed."""
