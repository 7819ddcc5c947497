"""Reading an issuer's documents: the discovery document where it is due, then the key set. I/O only; nothing here keeps state.

Rules of this file:

1. One deadline for both documents, in real time (R16).
2. A discovery document that cannot be *fetched* leaves the last good `jwks_uri` in use and stays due; one whose *content* is wrong
   fails the whole refresh, because an issuer that is not the one we know may not name keys.
3. A `jwks_uri` is judged by where its document was reached (`_core/location.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keyturn._core.discovery import DiscoveryDocument, discovery_url
from keyturn._core.freshness import freshness
from keyturn._core.key_set import KeySet
from keyturn._core.location import Reach, check_configured, check_issuer_url, host_of, is_loopback_host, literal_address, named_refusal, reach_of
from keyturn._core.policy import RolloverPolicy
from keyturn.clock import Deadline
from keyturn.errors import ConfigurationError, DiscoveryError, FetchError, KeysUnavailableError, quoted
from keyturn.fetching import FetchedDocument, Fetcher

_HEADERS: Mapping[str, str] = {
    # A cache in between is asked for a fresh answer; an answer that it made up from an older one would hide a rollover.
    "Cache-Control": "no-cache",
    "Accept": "application/json, application/jwk-set+json;q=0.9, */*;q=0.1",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where one issuer's keys are published.

    Attributes:
        issuer: The configured issuer.
        location: The configured location, or the one derived from the issuer.
        direct: Whether *location* is the key set itself.
    """

    issuer: str
    location: str
    direct: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where the key set was found.

    Attributes:
        url: Its location.
        reach: Where the document that names it was reached; None where the user configured it.
    """

    url: str
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one refresh brought.

    Attributes:
        keys: The key set.
        body: Its document.
        place: Where it was found.
        discovery_due: Whether the discovery document could not be fetched and is asked for again next time.
        max_age: Seconds that it says to stay fresh, or None.
        status: HTTP status of the key set.
    """

    keys: KeySet
    body: bytes
    place: Place
    discovery_due: bool
    max_age: float | None
    status: int


class ReadError(Exception):
    """A document could not be read.

    Attributes:
        document: Which one.
        error: Why.
    """

    def __init__(self, document: str, error: KeysUnavailableError) -> None:
        super().__init__(document)
        self.document = document
        self.error = error


def source_of(issuer: object, *, discovery: object, jwks: object, fetcher: Fetcher) -> Source:
    """Return where the keys are, after a check of the settings that opens nothing.

    Raises:
        ConfigurationError: Two locations, or one that cannot be used.
    """
    if not isinstance(issuer, str) or not issuer.strip():
        raise ConfigurationError(f'expected the issuer as text, for example "https://login.example.com", got {quoted(issuer)} (setting: issuer)')
    if discovery is not None and jwks is not None:
        raise ConfigurationError("discovery_url and jwks_url are both given, expected at most one (settings: discovery_url, jwks_url)")
    if jwks is not None:
        _check(fetcher, jwks, "jwks_url")
        return Source(issuer, str(jwks), direct=True)
    if discovery is not None:
        _check(fetcher, discovery, "discovery_url")
        return Source(issuer, str(discovery), direct=False)
    _check(fetcher, issuer, "issuer")
    return Source(issuer, discovery_url(issuer), direct=False)


def _check(fetcher: Fetcher, url: object, setting: str) -> None:
    check = getattr(fetcher, "check_location", None)
    if check is not None:
        check(url, setting)
    elif setting == "issuer":
        check_issuer_url(url)
    else:
        check_configured(url, setting=setting)


def read_documents(source: Source, fetcher: Fetcher, policy: RolloverPolicy, *, known: Place | None, discovery: bool, deadline: Deadline) -> Reading:
    """Read what is due.

    Args:
        source: Whose keys, and where.
        fetcher: Reads one document.
        policy: The limits to keep.
        known: Where the key set was found last, or None.
        discovery: Whether the discovery document is due.
        deadline: When everything must be over.

    Raises:
        ReadError: A document could not be fetched, or is not what it should be.
    """
    if source.direct:
        return _key_set(source, Place(source.location), fetcher, policy, deadline, discovery_due=False)
    if known is not None and not discovery:
        return _key_set(source, known, fetcher, policy, deadline, discovery_due=False)
    try:
        place = _discovered(source, fetcher, policy, deadline)
    except ReadError as failed:
        if known is None or not isinstance(failed.error, FetchError):
            raise
        return _key_set(source, known, fetcher, policy, deadline, discovery_due=True)
    return _key_set(source, place, fetcher, policy, deadline, discovery_due=False)


def _discovered(source: Source, fetcher: Fetcher, policy: RolloverPolicy, deadline: Deadline) -> Place:
    try:
        answer = _fetched(fetcher, source.location, policy, deadline)
        document = DiscoveryDocument.parse(answer.body, issuers=(source.issuer,), content_type=answer.headers.get("content-type", ""))
    except KeysUnavailableError as error:
        raise ReadError(source.location, error) from None
    return Place(document.jwks_uri, _reach(source.location, answer.address))


def _reach(location: str, address: str | None) -> Reach:
    """Return where a document was reached; without an address, a proxy or a fetcher of the user's stood between."""
    host = host_of(location)
    if address is None and is_loopback_host(host):
        return Reach.LOOPBACK
    known = address or literal_address(host)
    return reach_of(str(known)) if known else Reach.PUBLIC


def _key_set(source: Source, place: Place, fetcher: Fetcher, policy: RolloverPolicy, deadline: Deadline, *, discovery_due: bool) -> Reading:
    try:
        answer = _fetched(fetcher if place.reach is None else _within(fetcher, place, place.reach), place.url, policy, deadline)
        content_type = answer.headers.get("content-type", "")
        keys = KeySet.from_jwks(answer.body, content_type=content_type, max_keys=policy.max_keys, issuer=source.issuer)
    except KeysUnavailableError as error:
        raise ReadError(place.url, error) from None
    return Reading(keys, answer.body, place, discovery_due, freshness(answer.headers), answer.status)


def _within(fetcher: Fetcher, place: Place, reach: Reach) -> Fetcher:
    within = getattr(fetcher, "within", None)
    if within is not None:
        confined: Fetcher = within(reach)
        return confined
    refusal = named_refusal(place.url, reach)
    if refusal:
        raise DiscoveryError(f"a document names {quoted(place.url)}, which may not be read: {refusal}")
    return fetcher


def _fetched(fetcher: Fetcher, url: str, policy: RolloverPolicy, deadline: Deadline) -> FetchedDocument:
    left = deadline.left()
    if not left:
        raise FetchError(f"{quoted(url)} was not asked: the deadline of {policy.deadline:g} s is over (setting: deadline)")
    try:
        answer = fetcher.fetch(url, headers=_HEADERS, max_bytes=policy.max_document_bytes, deadline=left)
    except KeysUnavailableError:
        raise
    except Exception as error:
        raise FetchError(f"the fetcher failed on {quoted(url)}: {type(error).__name__} (setting: fetcher)") from error
    if len(answer.body) > policy.max_document_bytes:
        raise FetchError(f"{quoted(url)} has {len(answer.body)} bytes; {policy.max_document_bytes} are allowed (setting: max_document_bytes)")
    return answer
