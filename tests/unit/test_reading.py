"""Reading an issuer's documents with a fetcher that is none: which are due, what fails, and what a document may name (R3, R16)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from keyturn import ConfigurationError, DiscoveryError, FetchError, InvalidKeySetError, RolloverPolicy
from keyturn._core.location import Reach
from keyturn._reading import Place, ReadError, Reading, Source, read_documents, source_of
from keyturn.clock import Deadline
from keyturn.fetching import FetchedDocument, Fetcher
from keyturn.testing import FakeClock, FakeIssuer

ISSUER = "https://login.example.com"
DISCOVERY = ISSUER + "/.well-known/openid-configuration"
KEYS = ISSUER + "/jwks.json"
SOURCE = Source(ISSUER, DISCOVERY, direct=False)
DIRECT = Source(ISSUER, KEYS, direct=True)
KNOWN = Place(KEYS, Reach.PUBLIC)
NOW = 1_800_000_000.0


class Documents:
    """A fetcher over a table: text, an answer, or an error to raise."""

    def __init__(self, **table: Any) -> None:
        published = FakeIssuer(ISSUER, clock=FakeClock())
        self.table: dict[str, Any] = {DISCOVERY: published.discovery(), KEYS: published.jwks(), **table}
        self.asked: list[str] = []
        self.calls: list[dict[str, Any]] = []

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Answer from the table."""
        self.asked.append(url)
        self.calls.append({"headers": headers, "max_bytes": max_bytes, "deadline": deadline})
        answer = self.table[url]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, FetchedDocument):
            return answer
        return FetchedDocument(answer if isinstance(answer, bytes) else json.dumps(answer).encode(), {"content-type": "application/json"})


def reading(
    fetcher: Fetcher, source: Source = SOURCE, *, known: Place | None = None, discovery: bool = True, seconds: float = 60.0, **policy: Any
) -> Reading:
    """Read what is due."""
    return read_documents(source, fetcher, RolloverPolicy(**policy), known=known, discovery=discovery, deadline=Deadline(seconds), now=NOW)


class TestWhatIsRead:
    """Which documents a refresh asks for."""

    @pytest.mark.parametrize(
        ("source", "known", "discovery", "asked"),
        [
            (SOURCE, None, True, [DISCOVERY, KEYS]),
            (SOURCE, None, False, [DISCOVERY, KEYS]),
            (SOURCE, KNOWN, True, [DISCOVERY, KEYS]),
            (SOURCE, KNOWN, False, [KEYS]),
            (DIRECT, None, True, [KEYS]),
            (DIRECT, None, False, [KEYS]),
        ],
    )
    def test_documents_that_are_due(self, source: Source, known: Place | None, discovery: bool, asked: list[str]) -> None:
        """Discovery where it is due or nothing is known; the key set always; nothing else with a direct location (R3)."""
        fetcher = Documents()
        result = reading(fetcher, source, known=known, discovery=discovery)
        assert fetcher.asked == asked
        assert result.place.url == KEYS
        assert (len(result.keys.keys), result.status, result.discovery_due) == (1, 200, False)
        assert json.loads(result.body) == fetcher.table[KEYS]

    def test_limits_go_with_every_request(self) -> None:
        """One deadline for both documents: the second one gets what the first has left (R16)."""
        fetcher = Documents()
        reading(fetcher, seconds=60.0, max_document_bytes=4096)
        first, second = fetcher.calls
        assert 60.0 >= first["deadline"] > second["deadline"] > 0
        assert {first["max_bytes"], second["max_bytes"]} == {4096}
        assert first["headers"]["Cache-Control"] == "no-cache"
        assert not {name.lower() for name in first["headers"]} & {"if-none-match", "if-modified-since"}

    def test_max_age_is_handed_on(self) -> None:
        """What the key set says of its freshness, not the discovery document."""
        fetcher = Documents()
        fetcher.table[KEYS] = FetchedDocument(json.dumps(fetcher.table[KEYS]).encode(), {"cache-control": "max-age=600"})
        assert reading(fetcher).max_age == 600.0
        assert reading(Documents()).max_age is None


def failure(fetcher: Fetcher, source: Source = SOURCE, **options: Any) -> ReadError:
    """Return why nothing could be read."""
    with pytest.raises(ReadError) as caught:
        reading(fetcher, source, **options)
    return caught.value


class TestFailures:
    """What fails a refresh, and what only its discovery."""

    def test_discovery_that_cannot_be_fetched_leaves_the_last_place(self) -> None:
        """The last good location is read, and discovery stays due (rule 2)."""
        fetcher = Documents(**{DISCOVERY: FetchError("down")})
        result = reading(fetcher, known=KNOWN)
        assert fetcher.asked == [DISCOVERY, KEYS]
        assert (result.place, result.discovery_due) == (KNOWN, True)

    def test_discovery_that_cannot_be_fetched_fails_a_first_refresh(self) -> None:
        """Nothing is known yet, so nothing can be read."""
        error = failure(Documents(**{DISCOVERY: FetchError("down")}))
        assert (error.document, error.error.code) == (DISCOVERY, "fetch_failed")

    @pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"issuer":"https://other.example.com","jwks_uri":"https://other.example.com/jwks.json"}'])
    def test_wrong_content_of_discovery_fails_the_refresh(self, body: bytes) -> None:
        """An issuer that is not the one we know may not name keys, nor may the last place stand in for it (rule 2)."""
        fetcher = Documents(**{DISCOVERY: body})
        error = failure(fetcher, known=KNOWN)
        assert isinstance(error.error, DiscoveryError)
        assert fetcher.asked == [DISCOVERY]

    @pytest.mark.parametrize("body", [b"<html>", b"", b'{"keys":[]}', b"\xff", b"[1]"])
    def test_key_set_that_is_none_fails_the_refresh(self, body: bytes) -> None:
        """Empty, cut, HTML: nothing is accepted (R12)."""
        error = failure(Documents(**{KEYS: body}))
        assert isinstance(error.error, InvalidKeySetError)
        assert error.document == KEYS

    def test_fetcher_that_raises_anything_is_a_fetch_error(self) -> None:
        """The kind of error is named, its text is not: it may hold anything."""
        error = failure(Documents(**{DISCOVERY: ZeroDivisionError("secret text")}))
        assert isinstance(error.error, FetchError)
        assert "ZeroDivisionError" in str(error.error)
        assert "secret text" not in str(error.error)
        assert "(setting: fetcher)" in str(error.error)

    def test_fetcher_without_a_limit_is_held_to_it(self) -> None:
        """A fetcher of the user's may forget to count: a body that is too long is refused."""
        error = failure(Documents(**{KEYS: b" " * 1025}), max_document_bytes=1024)
        assert "max_document_bytes" in str(error.error)
        assert reading(Documents(), max_document_bytes=1024).keys.keys

    def test_nothing_is_asked_after_the_deadline(self) -> None:
        """The first document used it up: the second one is not asked for."""
        fetcher = Documents()
        error = failure(fetcher, seconds=0.0)
        assert "deadline" in str(error.error)
        assert fetcher.asked == []

    def test_direct_location_has_no_stand_in(self) -> None:
        """A configured key set that cannot be read is a failure, whatever was known."""
        assert failure(Documents(**{KEYS: FetchError("down")}), DIRECT, known=KNOWN).document == KEYS


class Reaching(Documents):
    """A fetcher that knows addresses, as the default one does."""

    def __init__(self, address: str | None = None, **table: Any) -> None:
        super().__init__(**table)
        self.within_reach: list[Reach] = []
        if address is not None:
            self.table[DISCOVERY] = FetchedDocument(json.dumps(self.table[DISCOVERY]).encode(), {}, address)

    def within(self, reach: Reach) -> Fetcher:
        """Note how far the document reaches."""
        self.within_reach.append(reach)
        return self


class TestWhatADocumentNames:
    """A `jwks_uri` is judged by where its document was reached (rule 3, F17)."""

    @pytest.mark.parametrize(
        ("address", "reach"),
        [("93.184.216.34", Reach.PUBLIC), (None, Reach.PUBLIC), ("10.0.0.7", Reach.PRIVATE), ("127.0.0.1", Reach.LOOPBACK), ("::1", Reach.LOOPBACK)],
    )
    def test_reach_is_that_of_the_address(self, address: str | None, reach: Reach) -> None:
        """What was connected to counts; where nothing is known of it, the document counts as public."""
        fetcher = Reaching(address)
        assert reading(fetcher).place.reach is reach
        assert fetcher.within_reach == [reach]

    def test_loopback_without_an_address_is_loopback(self) -> None:
        """A fetcher of the user's that tells no address, and a name that can be nothing else."""
        location = "http://localhost:8080/.well-known/openid-configuration"
        document = {"issuer": ISSUER, "jwks_uri": "http://localhost:8080/jwks.json"}
        fetcher = Documents(**{location: document})
        fetcher.table["http://localhost:8080/jwks.json"] = fetcher.table[KEYS]
        assert reading(fetcher, Source(ISSUER, location, direct=False)).place.reach is Reach.LOOPBACK

    @pytest.mark.parametrize(
        "uri", ["http://login.example.com/jwks.json", "https://127.0.0.1/jwks.json", "https://169.254.169.254/jwks.json", "file:/keys"]
    )
    def test_fetcher_that_cannot_judge_is_judged_for(self, uri: str) -> None:
        """A public document names clear text, loopback or link-local: nothing is asked there, whoever fetches."""
        fetcher = Documents(**{DISCOVERY: {"issuer": ISSUER, "jwks_uri": uri}})
        error = failure(fetcher)
        assert isinstance(error.error, DiscoveryError)
        assert fetcher.asked == [DISCOVERY]

    def test_known_place_keeps_its_reach(self) -> None:
        """A refresh of the key set alone is judged as the document was that named it."""
        fetcher = Reaching()
        reading(fetcher, known=Place(KEYS, Reach.PRIVATE), discovery=False)
        assert fetcher.within_reach == [Reach.PRIVATE]

    def test_configured_key_set_is_not_confined(self) -> None:
        """What the user configured may lie anywhere."""
        fetcher = Reaching()
        reading(fetcher, DIRECT)
        assert fetcher.within_reach == []


class TestSource:
    """Where the keys are, judged at construction and without a request (F73)."""

    @pytest.mark.parametrize(
        ("settings", "location", "direct"),
        [
            ({}, DISCOVERY, False),
            ({"discovery": "https://inside.example.com/d"}, "https://inside.example.com/d", False),
            ({"jwks": "https://inside.example.com/k"}, "https://inside.example.com/k", True),
        ],
    )
    def test_location_of_the_keys(self, settings: dict[str, str], location: str, direct: bool) -> None:
        """Derived from the issuer unless it is given."""
        source = source_of(ISSUER, **{"discovery": None, "jwks": None, **settings}, fetcher=Documents())
        assert source == Source(ISSUER, location, direct)

    def test_issuer_is_a_name_where_a_location_is_given(self) -> None:
        """It need not be an https URL then."""
        for name in ("urn:example:issuer", "http://fs.example.com/adfs/services/trust", "login"):
            assert source_of(name, discovery=None, jwks=KEYS, fetcher=Documents()).issuer == name

    @pytest.mark.parametrize(
        ("issuer", "settings", "setting"),
        [
            ("", {}, "issuer"),
            ("  ", {}, "issuer"),
            (None, {}, "issuer"),
            (7, {"jwks": KEYS}, "issuer"),
            ("http://login.example.com", {}, "issuer"),
            ("login.example.com", {}, "issuer"),
            ("https://login.example.com?tenant=1", {}, "issuer"),
            (ISSUER, {"discovery": DISCOVERY, "jwks": KEYS}, "discovery_url, jwks_url"),
            (ISSUER, {"jwks": "http://login.example.com/k"}, "jwks_url"),
            (ISSUER, {"discovery": "ftp://login.example.com/d"}, "discovery_url"),
            (ISSUER, {"discovery": 7}, "discovery_url"),
        ],
    )
    def test_wrong_settings_are_refused(self, issuer: Any, settings: dict[str, Any], setting: str) -> None:
        """The message names the setting, and nothing was asked."""
        fetcher = Documents()
        with pytest.raises(ConfigurationError, match=setting):
            source_of(issuer, **{"discovery": None, "jwks": None, **settings}, fetcher=fetcher)
        assert fetcher.asked == []

    def test_fetcher_that_checks_locations_is_asked(self) -> None:
        """The default fetcher knows of `http_hosts` and `rewrite`, so its word counts."""
        asked: list[tuple[object, str]] = []

        class Checking(Documents):
            def check_location(self, url: object, setting: str) -> None:
                asked.append((url, setting))

        assert source_of("http://keycloak:8080/realms/a", discovery=None, jwks=None, fetcher=Checking()).direct is False
        assert asked == [("http://keycloak:8080/realms/a", "issuer")]
