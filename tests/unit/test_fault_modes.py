"""The ways in which a fake issuer fails, without a socket: through its fetcher, and as a transport of httpx and httpx2.

1. A fault means the same whichever way the issuer is plugged in.
2. A fault is over with its context, and no bad answer takes anything from a validator that holds keys (R12).
3. Faults can be nested; the one that was entered last meets a request first.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from tests.contract.drivers import until
from tests.unit.failing import BRIEF, FAULTS, READ

from keyturn import DiscoveryError, FetchedDocument, Fetcher, FetchError, HttpxFetcher, KeysUnavailableError, TokenValidator
from keyturn.testing import FakeClock, FakeIssuer, settle
from keyturn.testing.fault_modes import FaultModes

LONG = 20.0
"""Real seconds after which a fetch that should have ended fails."""

PLUGS: dict[str, Callable[[FakeIssuer], Fetcher]] = {
    "fetcher": FakeIssuer.fetcher,
    "httpx": lambda issuer: HttpxFetcher(client_factory=lambda **_: httpx.Client(transport=issuer.transport())),
    "httpx2": lambda issuer: HttpxFetcher(client_factory=lambda **_: httpx2.Client(transport=issuer.transport(httpx2))),
}
"""Ways to plug an issuer in without a socket."""


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer on a clock that stands still."""
    return FakeIssuer(clock=FakeClock())


def fetch(fetcher: Fetcher, url: str, *, deadline: float = LONG) -> FetchedDocument:
    """Read a document as a client does."""
    return fetcher.fetch(url, headers={}, max_bytes=524_288, deadline=deadline)


def validator_of(issuer: FakeIssuer, plug: str) -> TokenValidator:
    """Return a validator that reads the issuer in one of the ways."""
    return TokenValidator(issuer.issuer, audience="api://test", fetcher=PLUGS[plug](issuer), clock=issuer.clock)


@pytest.mark.parametrize("plug", PLUGS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fetch_fails(issuer: FakeIssuer, name: str, plug: str) -> None:
    """A fault of the exchange is the same failed fetch and the same line of the account, whichever way it is plugged in (1)."""
    fault, fetcher = FAULTS[name], PLUGS[plug](issuer)
    with fault.enter(issuer), pytest.raises(FetchError, match=fault.says):
        fetch(fetcher, issuer.jwks_url, deadline=BRIEF if fault.endless else LONG)
    (request,) = issuer.fetches.requests
    assert re.search(fault.outcome, request.outcome)
    assert json.loads(fetch(fetcher, issuer.jwks_url).body) == issuer.jwks()


@pytest.mark.parametrize("name", FAULTS)
def test_for_another_document(issuer: FakeIssuer, name: str) -> None:
    """A fault of the discovery document leaves the key set alone, and one of both does not."""
    fault, fetcher = FAULTS[name], issuer.fetcher()
    deadline = BRIEF if fault.endless else LONG
    with fault.enter(issuer, document="discovery"):
        assert 200 == fetch(fetcher, issuer.jwks_url).status
        with pytest.raises(FetchError):
            fetch(fetcher, issuer.discovery_url, deadline=deadline)
    for url in (issuer.discovery_url, issuer.jwks_url):
        with fault.enter(issuer, document="both"), pytest.raises(FetchError, match=fault.says):
            fetch(fetcher, url, deadline=deadline)


@pytest.mark.parametrize("plug", PLUGS)
@pytest.mark.parametrize("mode", ["garbage", "html", "empty"])
def test_an_answer_that_is_no_document(issuer: FakeIssuer, mode: str, plug: str) -> None:
    """What is no key set changes nothing for a validator with keys (R12), and leaves one without keys unavailable."""
    warm, cold = validator_of(issuer, plug), validator_of(issuer, plug)
    token = issuer.token()
    warm.validate(token)
    with getattr(issuer, mode)():
        with pytest.raises(KeysUnavailableError):
            warm.client.refresh()
        warm.validate(token)
        with pytest.raises(KeysUnavailableError):
            cold.validate(token)


@pytest.mark.parametrize("plug", PLUGS)
def test_wrong_issuer(issuer: FakeIssuer, plug: str) -> None:
    """A discovery document that names another issuer is refused, and nothing else about it is changed (2)."""
    validator, before = validator_of(issuer, plug), issuer.discovery()
    with issuer.wrong_issuer("https://mallory.test"):
        shown = json.loads(fetch(issuer.fetcher(), issuer.discovery_url).body)
        assert ({**before, "issuer": "https://mallory.test"}, issuer.discovery()) == (shown, before)
        with pytest.raises(DiscoveryError, match=re.escape("https://mallory.test")):
            validator.validate(issuer.token())


def test_bad_entry(issuer: FakeIssuer) -> None:
    """A bad entry stands beside the good ones while its context lasts, and takes none of them along (R1)."""
    entry = {"kty": "RSA", "kid": "k9", "n": "!", "e": "AQAB"}
    with issuer.bad_entry(entry):
        assert [entry, *issuer.jwks()["keys"]] == json.loads(fetch(issuer.fetcher(), issuer.jwks_url).body)["keys"]
        assert "k1" == validator_of(issuer, "fetcher").validate(issuer.token()).key_id
    assert issuer.jwks() == json.loads(fetch(issuer.fetcher(), issuer.jwks_url).body)
    with pytest.raises(ValueError, match="entry is not JSON"):
        issuer.bad_entry({1, 2})


def test_headers(issuer: FakeIssuer) -> None:
    """Header fields are added to the published document or replace ours; its body stays."""
    with issuer.headers({"Cache-Control": "max-age=60", "Content-Type": "application/jwk-set+json"}):
        document = fetch(issuer.fetcher(), issuer.jwks_url)
    assert ("max-age=60", "application/jwk-set+json") == (document.headers["cache-control"], document.headers["content-type"])
    assert issuer.jwks() == json.loads(document.body)


def test_huge_is_a_good_document_but_for_its_length(issuer: FakeIssuer) -> None:
    """Nothing but the length is wrong, so that a larger limit reads it; a smaller size changes nothing."""
    with issuer.huge(600_000):
        body = issuer.fetcher().fetch(issuer.jwks_url, headers={}, max_bytes=600_000, deadline=LONG).body
        assert (600_000, issuer.jwks()) == (len(body), json.loads(body))
    with issuer.huge(1):
        assert issuer.jwks() == json.loads(fetch(issuer.fetcher(), issuer.jwks_url).body)


@pytest.mark.parametrize("plug", PLUGS)
def test_a_wrong_length_is_what_a_socket_makes_of_it(issuer: FakeIssuer, plug: str) -> None:
    """A length below that of the body ends the reading there, one above it breaks off."""
    with issuer.answer(b"abcdef", headers={"content-length": "3"}):
        assert b"abc" == fetch(PLUGS[plug](issuer), issuer.jwks_url).body
    with issuer.answer(b"abc", headers={"content-length": "6"}), pytest.raises(FetchError, match="broke off after 3 of 6 bytes"):
        fetch(PLUGS[plug](issuer), issuer.jwks_url)


@pytest.mark.parametrize("plug", PLUGS)
def test_a_slow_drip_ends_with_the_deadline(issuer: FakeIssuer, plug: str) -> None:
    """Whoever waits for the next byte waits no longer than the deadline, however far away that byte is (1)."""
    with issuer.drip(3600), pytest.raises(FetchError, match="whole"):
        fetch(PLUGS[plug](issuer), issuer.jwks_url, deadline=BRIEF)


@pytest.mark.parametrize("plug", PLUGS)
def test_a_location_is_found_however_a_library_writes_it(plug: str) -> None:
    """Libraries write hosts in lower case and leave out the usual port; the issuer that is called otherwise is read all the same (1)."""
    issuer = FakeIssuer("https://Login.test:443/T", clock=FakeClock())
    fetcher = PLUGS[plug](issuer)
    assert [issuer.discovery(), issuer.jwks()] == [json.loads(fetch(fetcher, url).body) for url in (issuer.discovery_url, issuer.jwks_url)]
    with pytest.raises(FetchError, match="404"):
        fetch(fetcher, "https://login.test/other")


@pytest.mark.parametrize("plug", PLUGS)
def test_what_drips_comes_whole_in_the_end(issuer: FakeIssuer, plug: str) -> None:
    """When its context ends the document follows, and blanks before it hurt nobody."""
    with ThreadPoolExecutor(1) as pool:
        with issuer.drip(0.001):
            answer = pool.submit(fetch, PLUGS[plug](issuer), issuer.jwks_url)
            while not issuer.fetches.jwks:
                assert not answer.done()
        body = answer.result(LONG).body
    assert issuer.jwks() == json.loads(body)


def test_nested(issuer: FakeIssuer) -> None:
    """What was entered last meets a request first: a change is made to what the outer fault answers, and to nothing behind a drop (3)."""
    with issuer.down(503), issuer.headers({"x-odd": "1"}), pytest.raises(FetchError, match="503"):
        fetch(issuer.fetcher(), issuer.jwks_url)
    with issuer.huge(2_000), issuer.truncated(), pytest.raises(FetchError, match="broke off after 1000 of 2000 bytes"):
        fetch(issuer.fetcher(), issuer.jwks_url)
    with issuer.garbage(), issuer.bad_entry({}):
        assert bytes(range(256)) * 2 == fetch(issuer.fetcher(), issuer.jwks_url).body
    with issuer.headers({}), issuer.drop_connection(), pytest.raises(FetchError, match="dropped"):
        fetch(issuer.fetcher(), issuer.jwks_url)


def test_every_fault_is_in_the_tables() -> None:
    """A fault that is added is tried in every way, too (1)."""
    modes = {name for name in vars(FaultModes) if not name.startswith("_")} - {"answer"}
    assert modes == set(FAULTS) | set(READ)


def test_a_validator_lives_through_all_of_them(issuer: FakeIssuer) -> None:
    """No fault costs a validator the keys that it holds (R9, R12)."""
    validator = validator_of(issuer, "fetcher")
    validator.validate(issuer.token())
    for fault in (fault for fault in FAULTS.values() if not fault.endless):
        with fault.enter(issuer, document="both"):
            with pytest.raises(KeysUnavailableError):
                validator.client.refresh()
            validator.validate(issuer.token())
    settle(validator)


LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


@LIBRARIES
class TestTransport:
    """The issuer as a transport, for people who hand in their own client."""

    def test_is_the_librarys_own(self, issuer: FakeIssuer, library: ModuleType) -> None:
        """It is a MockTransport; without an argument it is one of httpx."""
        assert isinstance(issuer.transport(library), library.MockTransport)
        assert isinstance(issuer.transport(), httpx.MockTransport)

    def test_documents_and_account(self, issuer: FakeIssuer, library: ModuleType) -> None:
        """A client reads what is published, is counted, and meets 404 and 501 as on a server."""
        with library.Client(transport=issuer.transport(library)) as client:
            assert issuer.discovery() == client.get(issuer.discovery_url).json()
            assert (404, 501) == (client.get("https://other.test/").status_code, client.post(issuer.jwks_url).status_code)
        issuer.fetches.expect(discovery=1, jwks=0)

    def test_asynchronous_client(self, issuer: FakeIssuer, library: ModuleType) -> None:
        """The same transport serves an asynchronous client, on asyncio."""

        async def read() -> Any:
            async with library.AsyncClient(transport=issuer.transport(library)) as client:
                return (await client.get(issuer.jwks_url)).json()

        assert issuer.jwks() == asyncio.run(read())

    def test_a_held_request_does_not_hold_the_loop(self, issuer: FakeIssuer, library: ModuleType) -> None:
        """While a gate holds a request the event loop goes on; opening it lets the answer through."""

        async def read() -> tuple[bool, int]:
            async with library.AsyncClient(transport=issuer.transport(library), timeout=LONG) as client:
                with issuer.gate() as gate:
                    asked = asyncio.create_task(client.get(issuer.jwks_url))
                    assert await asyncio.to_thread(gate.wait_for_arrival, LONG)
                    held = not asked.done()
                    gate.open()
                    return held, (await asked).status_code

        assert (True, 200) == asyncio.run(read())

    def test_a_cancelled_request_leaves_nobody(self, issuer: FakeIssuer, library: ModuleType) -> None:
        """Cancelling a request that is held ends it, and the account says that its sender left."""

        async def cancel() -> None:
            async with library.AsyncClient(transport=issuer.transport(library), timeout=None) as client:
                with issuer.gate() as gate:
                    asked = asyncio.create_task(client.get(issuer.jwks_url))
                    assert await asyncio.to_thread(gate.wait_for_arrival, LONG)
                    asked.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await asked
                    await asyncio.to_thread(until, lambda: "under way" != issuer.fetches.requests[0].outcome, "the end of the request")
                    assert "not answered: the sender left first" == issuer.fetches.requests[0].outcome

        asyncio.run(cancel())

    @pytest.mark.parametrize(
        ("mode", "error"), [("drop_connection", "ReadError"), ("gate", "ReadTimeout"), ("slow", "ReadTimeout"), ("truncated", "RemoteProtocolError")]
    )
    def test_errors_are_the_librarys(self, issuer: FakeIssuer, library: ModuleType, mode: str, error: str) -> None:
        """A client catches what it would catch of a real connection, synchronous or not."""
        fault = FAULTS[mode]

        async def read() -> None:
            async with library.AsyncClient(transport=issuer.transport(library), timeout=BRIEF) as client:
                await client.get(issuer.jwks_url)

        with fault.enter(issuer):
            with library.Client(transport=issuer.transport(library), timeout=BRIEF) as client, pytest.raises(getattr(library, error)):
                client.get(issuer.jwks_url)
            with pytest.raises(getattr(library, error)):
                asyncio.run(read())

    def test_the_read_timeout_is_one_between_two_bytes(self, issuer: FakeIssuer, library: ModuleType) -> None:
        """A drip that is slower than it ends with the library's error, synchronous or not, as on a socket."""

        async def read() -> None:
            async with library.AsyncClient(transport=issuer.transport(library), timeout=BRIEF) as client:
                await client.get(issuer.jwks_url)

        with issuer.drip(3600):
            with library.Client(transport=issuer.transport(library), timeout=BRIEF) as client, pytest.raises(library.ReadTimeout):
                client.get(issuer.jwks_url)
            with pytest.raises(library.ReadTimeout):
                asyncio.run(read())

    def test_a_cancelled_drip_leaves_no_thread(self, issuer: FakeIssuer, library: ModuleType) -> None:
        """Whoever is cancelled between two bytes leaves no thread that waits for the next one."""

        async def cancel() -> None:
            dripped = asyncio.Event()

            async def read() -> None:
                transport = issuer.transport(library)
                async with library.AsyncClient(transport=transport, timeout=None) as client, client.stream("GET", issuer.jwks_url) as answer:
                    async for _ in answer.aiter_raw():
                        dripped.set()

            reading = asyncio.create_task(read())
            await dripped.wait()
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

        before = set(threading.enumerate())
        with issuer.drip(3600):
            asyncio.run(cancel())
            until(lambda: set(threading.enumerate()) <= before, "the end of the thread")

    def test_compressed_is_compressed(self, issuer: FakeIssuer, library: ModuleType) -> None:
        """The body is real gzip: a client that accepts it reads the document."""
        with issuer.compressed(), library.Client(transport=issuer.transport(library)) as client:
            answer = client.get(issuer.jwks_url)
        assert ("gzip", issuer.jwks()) == (answer.headers["content-encoding"], answer.json())

    def test_drips(self, issuer: FakeIssuer, library: ModuleType) -> None:
        """A client that streams sees blanks, one after the other, as long as the context lasts."""

        async def read() -> bytes:
            async with library.AsyncClient(transport=issuer.transport(library)) as client, client.stream("GET", issuer.jwks_url) as answer:
                pieces = answer.aiter_raw()
                return b"".join([await anext(pieces) for _ in range(3)])

        with issuer.drip(0.001):
            with library.Client(transport=issuer.transport(library)) as client, client.stream("GET", issuer.jwks_url) as answer:
                pieces = answer.iter_raw()
                assert [b" "] * 3 == [next(pieces) for _ in range(3)]
            assert b"   " == asyncio.run(read())
