"""One deadline for everything, shown with answers that have an end: without it each of them would be read whole (R16, F9, B9)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest
from tests.integration.fault_server import Connection, FaultServer

from keyturn import FetchError, HttpxFetcher, KeySetClient, RolloverPolicy

PIECES = 50


@pytest.fixture(params=[httpx.Client, httpx2.Client], ids=["httpx", "httpx2"])
def fetcher(request: pytest.FixtureRequest) -> HttpxFetcher:
    """Return a fetcher over each library."""
    factory: Callable[..., Any] = request.param
    return HttpxFetcher(client_factory=factory, trust_env=False)


def test_pieces_that_come_in_time_are_cut_at_the_deadline(fetcher: HttpxFetcher) -> None:
    """Each of fifty pieces comes well inside the deadline, all together do not: the answer is ended in the middle."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % PIECES)
        connection.drip(iter([b" "] * PIECES))

    with FaultServer(script) as server:
        with pytest.raises(FetchError, match="was not read whole within 0.5 s"):
            fetcher.fetch(server.url(), headers={}, max_bytes=1000, deadline=0.5)
        assert server.wait_ended() == ["left"]


def test_second_document_gets_what_the_first_has_left(fetcher: HttpxFetcher) -> None:
    """The discovery document comes, the key set does not: its own time is less than the whole, and the error says how much."""
    with FaultServer(lambda connection: None) as server:

        def script(connection: Connection) -> None:
            head = connection.request()
            if b"/keys" in head:
                connection.stall()
            body = b'{"issuer": "http://127.0.0.1:%d", "jwks_uri": "http://127.0.0.1:%d/keys"}' % (server.port, server.port)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            connection.drip(bytes([byte]) for byte in body[:5])
            connection.send(body[5:])

        server._script = script
        client = KeySetClient(f"http://127.0.0.1:{server.port}", fetcher=fetcher, policy=RolloverPolicy(deadline=1.0))
        with pytest.raises(FetchError) as caught:
            client.refresh()
    said = re.search(r"/keys. was not read whole within ([0-9.]+) s", str(caught.value))
    assert said is not None, caught.value
    # A fifth of the deadline is kept back for the way home, and the first document took a tenth.
    assert float(said[1]) <= 0.71
