"""Clients that are handed in, mocked or not yet loaded, and what the default fetcher makes of them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import httpx
import httpx2
import pytest
import respx
from tests.integration.fault_server import FaultServer, answer, sends

from keyturn.errors import FetchError
from keyturn.fetching import FetchedDocument, HttpxFetcher

BODY = b'{"keys": []}'
LOCATION = "https://login.example.com/keys"


def read(fetcher: HttpxFetcher, url: str = LOCATION) -> FetchedDocument:
    """Read *url* with limits of the tests."""
    return fetcher.fetch(url, headers={}, max_bytes=1000, deadline=10)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_client_that_hides_its_connections(library: Any) -> None:
    """A client that does not tell of its connections could be held to nothing, so its answer is refused."""

    class Hiding(library.Client):  # type: ignore[misc]
        def build_request(self, *args: Any, **keywords: Any) -> Any:
            return super().build_request(*args, **{**keywords, "extensions": {}})

    with FaultServer(sends(answer(BODY))) as server, pytest.raises(FetchError, match="setting: client_factory"):
        read(HttpxFetcher(client_factory=Hiding, trust_env=False), server.url())


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_mock_transports_work(library: Any) -> None:
    """A client over the library's mock transport can be handed in; there is no address then."""

    def handler(request: Any) -> Any:
        return library.Response(200, content=BODY)

    fetcher = HttpxFetcher(client_factory=lambda **settings: library.Client(transport=library.MockTransport(handler), **settings))

    assert (BODY, None) == ((document := read(fetcher)).body, document.address)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_mocks_are_held_to_the_limits(library: Any) -> None:
    """A mocked answer that is too long, or not 200, is refused like a real one."""
    answers = iter([library.Response(200, content=1001 * b" "), library.Response(404)])
    fetcher = HttpxFetcher(client_factory=lambda **settings: library.Client(transport=library.MockTransport(lambda _: next(answers)), **settings))
    for expected in ("announced 1001 bytes", "answered 404"):
        with pytest.raises(FetchError, match=expected):
            read(fetcher)


@respx.mock
def test_respx_reaches_the_default_fetcher() -> None:
    """Users' mocks of httpx answer for the fetcher that nobody configured."""
    respx.get(LOCATION).respond(content=BODY)

    assert BODY == read(HttpxFetcher()).body


def test_the_library_is_loaded_by_prepare() -> None:
    """Importing the module and building a fetcher load no HTTP library; `prepare()` does, so that no refresh thread has to."""
    program = """
import sys
from keyturn.fetching import HttpxFetcher
fetcher = HttpxFetcher()
fetcher.check_location("https://login.example.com", "issuer")
print("httpx" in sys.modules)
fetcher.prepare()
print("httpx" in sys.modules, "httpx2" in sys.modules, "encodings.idna" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)

    assert ["False", "True False True"] == result.stdout.split("\n")[:2]
