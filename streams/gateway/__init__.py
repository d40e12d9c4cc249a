"""The gateway: accounts' events and marks, from their sources to Kafka."""
