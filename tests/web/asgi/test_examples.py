"""The example is started by its one command, and asked what the printed request asks."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from tests.web.asgi.serving import Served
from tests.web.conformance import bearer
from tests.web.wsgi.test_examples import example

ORDERS = (200, {"orders": ["17 teapots", "1 kettle"]})


def test_the_example_lives_through_a_rollover() -> None:
    """The printed request is answered; after a rollover the new token passes at once, and the old one goes on passing (R4, R10)."""
    with example("fastapi") as running:
        old = running.token
        assert ORDERS == running.ask("/orders", old)
        running.roll_over()
        assert old != running.token
        assert ORDERS == running.ask("/orders", running.token)
        assert ORDERS == running.ask("/orders", old)
        assert 200 == running.ask("/ready")[0]


def test_the_example_asks_for_scopes() -> None:
    """Reading needs a token with its scope, writing another one; greetings need none."""
    with example("fastapi") as running:
        assert (200, {"hello": "stranger"}) == running.ask("/")
        assert (200, {"hello": "alice"}) == running.ask("/", running.token)
        assert (401, 401) == (running.ask("/orders")[0], running.ask("/orders", "junk")[0])
        assert 403 == running.ask("/orders", running.token, method="POST", body="1 cup")[0]


def test_the_example_has_a_websocket() -> None:
    """It is accepted with the same token as a request."""
    with example("fastapi") as running:
        served = Served(urlsplit(running.url).port or 0)
        (news,) = served.connect("/news", bearer(running.token))
        assert {"orders": 2} == json.loads(news)
