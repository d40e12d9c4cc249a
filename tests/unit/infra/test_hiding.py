"""What is hidden is in nothing that is said."""

import logging
from collections.abc import Callable
from functools import partial

import pytest

from infra.binance.errors import MalformedEvent, RequestRefused, StreamLost, key_refused
from infra.binance.keys import SigningKey
from infra.hiding import hide, without_secrets
from infra.telemetry.logs import JsonFormatter, TextFormatter

KEY, SECRET = "hidden-key-7d1c", "hidden-secret-7d1c"
ECHO = f"GET /api/v3/account X-MBX-APIKEY: {KEY} {SECRET}"


@pytest.fixture(autouse=True)
def signing_key() -> SigningKey:
    return SigningKey(KEY, SECRET)


def test_short_words_stay_and_the_longest_secret_goes_first() -> None:
    hide("demo", "a-secret-of-mine", "a-secret-of-mine-and-more")
    assert without_secrets("demo a-secret-of-mine-and-more a-secret-of-mine") == "demo *** ***"


@pytest.mark.parametrize(
    "make",
    [MalformedEvent, StreamLost, partial(RequestRefused, "account", -1100), partial(key_refused, -2015)],
    ids=["malformed", "lost", "refused", "key-refused"],
)
def test_what_the_exchange_repeats_is_in_no_error(make: Callable[[str], Exception]) -> None:
    error = make(ECHO)
    assert KEY not in repr(error)
    assert SECRET not in repr(error)
    assert "X-MBX-APIKEY: *** ***" in str(error)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter("test")], ids=["text", "json"])
def test_no_line_of_the_log_has_a_secret_nor_has_a_traceback(formatter: logging.Formatter) -> None:
    with pytest.raises(ValueError, match="X-MBX") as caught:
        int(ECHO)
    cause = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("any", logging.ERROR, __file__, 1, "%s", (ECHO,), cause)
    line = formatter.format(record)
    assert "Traceback" in line
    assert KEY not in line
    assert SECRET not in line
