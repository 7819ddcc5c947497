"""A client over real sockets with the default fetcher: from the first request to a rollover, and what an issuer may answer instead."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
import respx
import trio

from keyturn import ConfigurationError, HttpxFetcher, InvalidIssuerError, KeySetClient, KeysUnavailableError, TokenValidator
from keyturn.testing import FakeClock, FakeIssuer
from keyturn.testing.server import IssuerServer

PATIENCE = 20.0
PUBLIC = "https://auth.example.com"

Validate = Callable[[TokenValidator, str], Any]
DOORS: dict[str, Validate] = {
    "thread": lambda validator, token: validator.validate(token),
    "asyncio": lambda validator, token: asyncio.run(validator.validate_async(token)),
    "trio": lambda validator, token: trio.run(validator.validate_async, token),
}


@pytest.fixture(params=DOORS)
def validate(request: pytest.FixtureRequest) -> Validate:
    """Each door."""
    return DOORS[request.param]


@pytest.fixture(params=["httpx", "httpx2"])
def fetcher(request: pytest.FixtureRequest) -> HttpxFetcher:
    """The default fetcher over each library."""
    return HttpxFetcher() if request.param == "httpx" else HttpxFetcher(client_factory=httpx2.Client)


class Served:
    """An issuer on a loopback port, and a validator of it."""

    def __init__(self, issuer: FakeIssuer, server: IssuerServer, clock: FakeClock) -> None:
        self.issuer, self.server, self.clock = issuer, server, clock

    def validator(self, **settings: Any) -> TokenValidator:
        """Return a validator whose client is built with *settings*."""
        return TokenValidator(KeySetClient(self.issuer.issuer, clock=self.clock, **settings), audience="api://test")

    def roll(self) -> str:
        """Roll the key over; return a token of the new one."""
        self.issuer.publish("k2")
        self.issuer.promote("k2")
        return self.issuer.token()


@pytest.fixture
def served() -> Iterator[Served]:
    """An issuer that is called what it is reached at."""
    clock = FakeClock()
    issuer = FakeIssuer(clock=clock)
    with issuer.serve() as server:
        yield Served(issuer, server, clock)


@pytest.fixture
def public() -> Iterator[Served]:
    """An issuer with a public name that is reached on loopback alone."""
    clock = FakeClock()
    issuer = FakeIssuer(PUBLIC, clock=clock)
    with issuer.serve() as server:
        yield Served(issuer, server, clock)


def unavailable(validate: Validate, validator: TokenValidator, token: str) -> KeysUnavailableError:
    """Return the 503 of a call."""
    with pytest.raises(KeysUnavailableError) as caught:
        validate(validator, token)
    return caught.value


class TestRollover:
    """What a service sees of a healthy issuer."""

    def test_cold_start_and_rollover(self, served: Served, fetcher: HttpxFetcher, validate: Validate) -> None:
        """Two requests at the start, one at the rollover, none for what is held."""
        validator = served.validator(fetcher=fetcher)
        old = served.issuer.token()
        assert validate(validator, old).subject == "alice"
        served.issuer.fetches.expect(discovery=1, jwks=1)
        assert validate(validator, served.roll()).subject == "alice"
        assert validate(validator, old).subject == "alice"
        served.issuer.fetches.expect(discovery=1, jwks=2)

    def test_settings_need_nothing_but_the_issuer(self, served: Served) -> None:
        """The two lines of the manual."""
        validator = TokenValidator(served.issuer.issuer, audience="api://test", clock=served.clock)
        assert validator.validate(served.issuer.token()).subject == "alice"

    def test_threads_and_loops_share_one_fetch(self, served: Served) -> None:
        """Callers of every kind at the gate: one request for each document."""
        validator, token = served.validator(), served.issuer.token()
        outcomes: list[Any] = []
        with served.issuer.gate() as gate:
            doors = list(DOORS.values()) * 5
            threads = [threading.Thread(target=lambda door=door: outcomes.append(door(validator, token)), daemon=True) for door in doors]
            for thread in threads:
                thread.start()
            assert gate.wait_for_arrival(PATIENCE)
            gate.open()
            for thread in threads:
                thread.join(PATIENCE)
        assert ["alice"] * 15 == [outcome.subject for outcome in outcomes]
        served.issuer.fetches.expect(discovery=1, jwks=1)

    def test_request_says_what_it_wants(self, served: Served, fetcher: HttpxFetcher) -> None:
        """No encoding, no condition, and no answer of a cache in between (R16)."""
        served.validator(fetcher=fetcher).validate(served.issuer.token())
        for request in served.issuer.fetches.requests:
            assert request.headers["accept-encoding"] == "identity"
            assert request.headers["cache-control"] == "no-cache"
            assert not {"if-none-match", "if-modified-since", "authorization", "cookie"} & set(request.headers)


class TestBadAnswers:
    """A bad answer is 503, and changes nothing that is held (R12)."""

    @pytest.mark.parametrize(
        ("status", "headers", "body", "code"),
        [
            (500, {}, b"oops", "fetch_failed"),
            (503, {"retry-after": "7"}, b"", "fetch_failed"),
            (302, {"location": "https://other.example.com/jwks.json"}, b"", "fetch_failed"),
            (304, {}, b"", "fetch_failed"),
            (200, {"content-type": "text/html"}, b"<html><body>Sign in</body></html>", "invalid_key_set"),
            (200, {"content-encoding": "gzip"}, gzip.compress(b'{"keys":[]}'), "fetch_failed"),
            (200, {}, b'{"keys":[]}', "invalid_key_set"),
            (200, {"content-length": "1000"}, b'{"keys":[', "fetch_failed"),
        ],
        ids=["500", "503", "redirect", "304", "html", "gzip", "empty", "cut"],
    )
    def test_answer_changes_nothing(
        self, served: Served, fetcher: HttpxFetcher, *, status: int, headers: dict[str, str], body: bytes, code: str
    ) -> None:
        """A new kid gets 503 with the reason, the held one is served; a good answer after the backoff heals."""
        validator, validate = served.validator(fetcher=fetcher), DOORS["thread"]
        old = served.issuer.token()
        validate(validator, old)
        token = served.roll()
        with served.issuer.answer(body, status, headers):
            error = unavailable(validate, validator, token)
            assert error.code == code
            assert error.retry_after == (7 if "retry-after" in headers else 1)
            assert validate(validator, old).subject == "alice"
        served.clock.advance(7)
        assert validate(validator, token).subject == "alice"
        served.issuer.fetches.expect(jwks=3)

    def test_redirect_is_not_followed(self, served: Served, fetcher: HttpxFetcher) -> None:
        """Not even to a place that would answer: a redirect names where keys come from, and nobody vouches for it (R16)."""
        with FakeIssuer().serve() as other, served.issuer.answer(b"", 302, {"location": other.jwks_url}):
            error = unavailable(DOORS["thread"], served.validator(fetcher=fetcher), served.issuer.token())
        assert "302" in str(error)
        assert "redirect" in str(error).lower()

    def test_discovery_of_another_issuer_is_refused(self, served: Served, fetcher: HttpxFetcher) -> None:
        """Its keys are not asked for."""
        document = json.dumps({**served.issuer.discovery(), "issuer": "https://other.example.com"}).encode()
        with served.issuer.answer(document, document="discovery"):
            assert unavailable(DOORS["thread"], served.validator(fetcher=fetcher), served.issuer.token()).code == "discovery_failed"
        served.issuer.fetches.expect(jwks=0)

    def test_dropped_connection(self, served: Served, fetcher: HttpxFetcher, validate: Validate) -> None:
        """A reset is an outage."""
        with served.issuer.drop_connection(document="both"):
            assert unavailable(validate, served.validator(fetcher=fetcher), served.issuer.token()).code == "fetch_failed"

    def test_nobody_listens(self, validate: Validate) -> None:
        """An issuer that is gone is an outage too."""
        issuer = FakeIssuer()
        with issuer.serve():
            name, token = issuer.issuer, issuer.token()
        assert unavailable(validate, TokenValidator(name, audience="api://test"), token).code == "fetch_failed"


class TestClearText:
    """Keys that were read in clear text are anybody's keys (R16)."""

    @pytest.mark.parametrize("url", ["http://auth.example.com", "http://10.0.0.7:8080", "http://keycloak:8080/realms/a"])
    def test_it_is_refused_at_construction(self, url: str) -> None:
        """An http URL beyond loopback: at construction, with the setting's name, and not at the first request."""
        with pytest.raises(ConfigurationError, match="issuer"):
            KeySetClient(url)
        with pytest.raises(ConfigurationError, match="jwks_url"):
            KeySetClient(PUBLIC, jwks_url=url + "/jwks.json")
        with pytest.raises(ConfigurationError, match="discovery_url"):
            KeySetClient(PUBLIC, discovery_url=url + "/.well-known/openid-configuration")

    def test_host_that_was_named_is_allowed(self) -> None:
        """`http_hosts` permits it, and nothing was opened to find out."""
        client = KeySetClient("http://keycloak:8080/realms/a", fetcher=HttpxFetcher(http_hosts=["keycloak"]))
        assert client.issuer == "http://keycloak:8080/realms/a"


class TestTwoAddresses:
    """An issuer with a public name that is reached somewhere else (U22)."""

    def test_jwks_url(self, public: Served, fetcher: HttpxFetcher, validate: Validate) -> None:
        """The location of the keys is configured, and the issuer is a name."""
        validator = public.validator(jwks_url=public.server.jwks_url, fetcher=fetcher)
        assert validate(validator, public.issuer.token()).subject == "alice"
        public.issuer.fetches.expect(discovery=0, jwks=1)

    def test_rewrite(self, public: Served, validate: Validate) -> None:
        """Its origin is mapped to where it is reached, for the document and for what the document names."""
        validator = public.validator(fetcher=HttpxFetcher(rewrite={PUBLIC: public.server.url}))
        assert validate(validator, public.issuer.token()).subject == "alice"
        public.issuer.fetches.expect(discovery=1, jwks=1)

    def test_discovery_url_and_rewrite(self, public: Served) -> None:
        """The document is read at its inner address, and the public address that it names is mapped."""
        fetcher = HttpxFetcher(rewrite={PUBLIC: public.server.url})
        validator = public.validator(discovery_url=public.server.discovery_url, fetcher=fetcher)
        assert validator.validate(public.issuer.token()).subject == "alice"
        public.issuer.fetches.expect(discovery=1, jwks=1)

    def test_document_that_names_its_inner_address(self, public: Served) -> None:
        """A document that was reached on loopback may name loopback."""
        document = json.dumps({**public.issuer.discovery(), "jwks_uri": public.server.jwks_url}).encode()
        with public.issuer.answer(document, document="discovery"):
            validator = public.validator(discovery_url=public.server.discovery_url)
            assert validator.validate(public.issuer.token()).subject == "alice"

    def test_token_of_the_inner_name_is_refused(self, public: Served) -> None:
        """The issuer is the name that was configured, not the address; nothing is fetched to find out."""
        validator = public.validator(jwks_url=public.server.jwks_url)
        with pytest.raises(InvalidIssuerError):
            validator.validate(public.issuer.token(iss=public.server.url))
        public.issuer.fetches.expect(jwks=0)


class TestMocks:
    """A test suite that intercepts its HTTP library needs nothing of ours."""

    def test_respx_answers_for_the_issuer(self) -> None:
        """The default fetcher is seen by respx, from the discovery document on."""
        issuer = FakeIssuer(PUBLIC)
        with respx.mock(assert_all_called=True) as mock:
            mock.get(issuer.discovery_url).mock(return_value=httpx.Response(200, json=issuer.discovery()))
            keys = mock.get(issuer.jwks_url).mock(return_value=httpx.Response(200, json=issuer.jwks()))
            validator = TokenValidator(PUBLIC, audience="api://test")
            assert validator.validate(issuer.token()).subject == "alice"
            assert keys.call_count == 1

    def test_respx_answers_with_an_error(self) -> None:
        """A mocked outage is an outage."""
        issuer = FakeIssuer(PUBLIC)
        with respx.mock(assert_all_called=False) as mock:
            mock.get(issuer.discovery_url).mock(side_effect=httpx.ConnectError("refused"))
            assert unavailable(DOORS["thread"], TokenValidator(PUBLIC, audience="api://test"), issuer.token()).code == "fetch_failed"
