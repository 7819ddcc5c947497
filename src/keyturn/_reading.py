"""Reading an issuer's documents: the discovery document where it is due, then the key set. I/O only; nothing here keeps state.

Rules of this file:

1. One deadline for both documents, in real time (R16).
2. A discovery document that cannot be *fetched* leaves the last good `jwks_uri` in use and stays due; one whose *content* is wrong
   fails the whole refresh, because an issuer that is not the one we know may not name keys.
3. A `jwks_uri` is judged by where its document was reached (`_core/location.py`).
4. What a document is follows from the configuration and never from its content: a key set and federation metadata have each their own
   source, and a body of one is never read as the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
_METADATA_HEADERS: Mapping[str, str] = {**_HEADERS, "Accept": "application/samlmetadata+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1"}


@dataclass(frozen=True, slots=True)
class Source:
    """Where one issuer's keys are published.

    Attributes:
        issuer: The configured issuer.
        location: The configured location, or the one derived from the issuer.
        direct: Whether *location* is the document with the keys itself.
        metadata: Whether that document is federation metadata and no key set.
        signers: SHA-256 thumbprints of certificates one of which must have signed the federation metadata; none asks for no signature.
    """

    issuer: str
    location: str
    direct: bool
    metadata: bool = False
    signers: frozenset[str] = frozenset()

    @property
    def kind(self) -> Literal["jwks", "metadata"]:
        """What the document with the keys is."""
        return "metadata" if self.metadata else "jwks"


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


def source_of(issuer: object, *, discovery: object, jwks: object, fetcher: Fetcher, metadata: object = None, signers: object = ()) -> Source:
    """Return where the keys are, after a check of the settings that opens nothing.

    Raises:
        ConfigurationError: Two locations, or a setting that cannot be used.
    """
    if not isinstance(issuer, str) or not issuer.strip():
        raise ConfigurationError(f'expected the issuer as text, for example "https://login.example.com", got {quoted(issuer)} (setting: issuer)')
    given = [name for name, url in (("discovery_url", discovery), ("jwks_url", jwks), ("metadata_url", metadata)) if url is not None]
    if len(given) > 1:
        raise ConfigurationError(f"{' and '.join(given)} are given, expected at most one of them (settings: {', '.join(given)})")
    if metadata is not None:
        _check(fetcher, metadata, "metadata_url")
        return metadata_source(issuer, str(metadata), signers)
    if signers:
        raise ConfigurationError("metadata_signer is given without the metadata that it is for (settings: metadata_signer, metadata_url)")
    if jwks is not None:
        _check(fetcher, jwks, "jwks_url")
        return Source(issuer, str(jwks), direct=True)
    if discovery is not None:
        _check(fetcher, discovery, "discovery_url")
        return Source(issuer, str(discovery), direct=False)
    _check(fetcher, issuer, "issuer")
    return Source(issuer, discovery_url(issuer), direct=False)


def metadata_source(issuer: str, location: str, signers: object) -> Source:
    """Return the source of an issuer whose keys stand in federation metadata.

    Raises:
        ConfigurationError: *signers* cannot be used.
    """
    # Loaded here and not with the first document: an import on the refresh thread would hang in a child that was forked meanwhile.
    from keyturn._core.federation_metadata import pinned_signers  # noqa: PLC0415 - loads an XML parser, which few need

    return Source(issuer, location, direct=True, metadata=True, signers=pinned_signers(signers))


def _check(fetcher: Fetcher, url: object, setting: str) -> None:
    check = getattr(fetcher, "check_location", None)
    if check is not None:
        check(url, setting)
    elif setting == "issuer":
        check_issuer_url(url)
    else:
        check_configured(url, setting=setting)


def keys_of(source: Source, body: bytes, *, content_type: str = "", max_keys: int, now: float) -> tuple[KeySet, float | None]:
    """Return the keys of a document, and the seconds for which it asks to be kept, or None.

    Args:
        source: Whose document it is, and what it must be.
        body: The document.
        content_type: Content-Type that came with it.
        max_keys: Keys above which it is refused.
        now: Seconds since the epoch when it was asked for.

    Raises:
        InvalidKeySetError: It is not what it must be, or holds no usable key.
    """
    if not source.metadata:
        return KeySet.from_jwks(body, content_type=content_type, max_keys=max_keys, issuer=source.issuer), None
    from keyturn._core.federation_metadata import FederationMetadataDocument  # noqa: PLC0415 - loads an XML parser, which few need

    found = FederationMetadataDocument.parse(
        body, entity_ids=source.issuer, now=now, content_type=content_type, max_keys=max_keys, signers=source.signers
    )
    return found.keys, found.cache_duration


def read_documents(
    source: Source, fetcher: Fetcher, policy: RolloverPolicy, *, known: Place | None, discovery: bool, deadline: Deadline, now: float
) -> Reading:
    """Read what is due.

    Args:
        source: Whose keys, and where.
        fetcher: Reads one document.
        policy: The limits to keep.
        known: Where the key set was found last, or None.
        discovery: Whether the discovery document is due.
        deadline: When everything must be over.
        now: Seconds since the epoch.

    Raises:
        ReadError: A document could not be fetched, or is not what it should be.
    """
    if source.direct:
        return _key_set(source, Place(source.location), fetcher, policy, deadline, now=now, discovery_due=False)
    if known is not None and not discovery:
        return _key_set(source, known, fetcher, policy, deadline, now=now, discovery_due=False)
    try:
        place = _discovered(source, fetcher, policy, deadline)
    except ReadError as failed:
        if known is None or not isinstance(failed.error, FetchError):
            raise
        return _key_set(source, known, fetcher, policy, deadline, now=now, discovery_due=True)
    return _key_set(source, place, fetcher, policy, deadline, now=now, discovery_due=False)


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


def _key_set(
    source: Source, place: Place, fetcher: Fetcher, policy: RolloverPolicy, deadline: Deadline, *, now: float, discovery_due: bool
) -> Reading:
    try:
        reached = fetcher if place.reach is None else _within(fetcher, place, place.reach)
        answer = _fetched(reached, place.url, policy, deadline, _METADATA_HEADERS if source.metadata else _HEADERS)
        content_type = answer.headers.get("content-type", "")
        keys, max_age = keys_of(source, answer.body, content_type=content_type, max_keys=policy.max_keys, now=now)
    except KeysUnavailableError as error:
        raise ReadError(place.url, error) from None
    hints = [seconds for seconds in (freshness(answer.headers), max_age) if seconds is not None]
    return Reading(keys, answer.body, place, discovery_due, min(hints, default=None), answer.status)


def _within(fetcher: Fetcher, place: Place, reach: Reach) -> Fetcher:
    within = getattr(fetcher, "within", None)
    if within is not None:
        confined: Fetcher = within(reach)
        return confined
    refusal = named_refusal(place.url, reach)
    if refusal:
        raise DiscoveryError(f"a document names {quoted(place.url)}, which may not be read: {refusal}")
    return fetcher


def _fetched(fetcher: Fetcher, url: str, policy: RolloverPolicy, deadline: Deadline, headers: Mapping[str, str] = _HEADERS) -> FetchedDocument:
    left = deadline.left()
    if not left:
        raise FetchError(f"{quoted(url)} was not asked: the deadline of {policy.deadline:g} s is over (setting: deadline)")
    try:
        answer = fetcher.fetch(url, headers=headers, max_bytes=policy.max_document_bytes, deadline=left)
    except KeysUnavailableError:
        raise
    except Exception as error:
        raise FetchError(f"the fetcher failed on {quoted(url)}: {type(error).__name__} (setting: fetcher)") from error
    if len(answer.body) > policy.max_document_bytes:
        raise FetchError(f"{quoted(url)} has {len(answer.body)} bytes; {policy.max_document_bytes} are allowed (setting: max_document_bytes)")
    return answer
