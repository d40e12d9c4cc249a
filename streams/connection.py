"""How clients reach the brokers: addresses, TLS and SASL from the settings."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka.errors import KafkaError

from infra.errors import RemediableError
from infra.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context to use, or None where the protocol has no TLS."""
    if settings.kafka_security_protocol not in {"SSL", "SASL_SSL"}:
        return None
    cafile = settings.kafka_ssl_cafile
    return ssl.create_default_context(cafile=None if cafile is None else str(cafile))


def client_options(settings: Settings) -> dict[str, Any]:
    """The keyword arguments that every client of aiokafka needs to connect."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.brokers.split(","),
        "security_protocol": settings.kafka_security_protocol,
    }
    context = tls_context(settings)
    if context is not None:
        options["ssl_context"] = context
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": None if password is None else password.get_secret_value(),
        }
    return options


@contextmanager
def needing_kafka(settings: Settings) -> Iterator[None]:
    """Around what somebody asked for: what clients of aiokafka raise in it is told with its remedy.

    Raises:
        RemediableError: Kafka does not answer, or refused.
    """
    try:
        yield
    except (KafkaError, OSError) as error:
        raise RemediableError(
            f"Kafka at {settings.brokers} did not do it ({error!r})",
            "Start it, and see `portfolio doctor` for the rest",
        ) from error
