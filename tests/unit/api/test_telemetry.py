"""The names of routes are as many as there are routes, whatever is asked for."""

import pytest

from api.telemetry import RouteTemplates

TEMPLATES = RouteTemplates(
    ["/portfolio/positions", "/portfolio/positions/{symbol}", "/portfolio/positions/{symbol}/candles", "/metrics"]
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/portfolio/positions", "/portfolio/positions"),
        ("/portfolio/positions/BTCUSDT", "/portfolio/positions/{symbol}"),
        ("/portfolio/positions/BTCUSDT/candles", "/portfolio/positions/{symbol}/candles"),
        ("/metrics", "/metrics"),
        ("/", "(other)"),
        ("/app.js", "(other)"),
        ("/portfolio/positions/a/b/c", "(other)"),
        ("/wp-login.php", "(other)"),
        ("", "(other)"),
    ],
)
def test_a_path_is_named_by_its_route(path: str, name: str) -> None:
    assert TEMPLATES.name(path) == name
