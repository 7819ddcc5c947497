"""Reading a key set from wherever a person says it is: its URL, its issuer, a file, or standard input.

Rules of this file:

1. An existing path is a file, `-` is standard input, and the rest must be a URL.
2. A URL is asked as given. If its answer has `keys` it is the key set, and if it is federation metadata it holds the keys, too; if it is
   a discovery document that is followed; otherwise the URL is an issuer, and its discovery document is asked for. One time limit holds
   for all of it.
3. A set without a usable key is an answer here, with the reason of each entry, although no validator would take it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import KeySet, SkippedKey
from keyturn._core.location import Reach
from keyturn._core.policy import RolloverPolicy
from keyturn._core.strict_json import NotStrictJSONError, parse_document
from keyturn._reading import ReadError, Source, read_documents, source_of
from keyturn.clock import Deadline, SystemClock
from keyturn.errors import ConfigurationError, FetchError, InvalidKeySetError, KeysUnavailableError, quoted
from keyturn.fetching import FetchedDocument, Fetcher, HttpxFetcher


@dataclass(frozen=True, slots=True)
class Found:
    """A key set and where it was found.

    Attributes:
        location: URL, path, or `-`.
        issuer: The issuer that named the location, or whose federation metadata it is; or None.
        keys: Keys that can serve.
        skipped: Entries that cannot, with reasons.
    """

    location: str
    issuer: str | None
    keys: tuple[SigningKey, ...]
    skipped: tuple[SkippedKey, ...]


def read_key_set(place: str, fetcher: HttpxFetcher, policy: RolloverPolicy) -> Found:
    """Read the key set at *place*, within the policy's deadline.

    Raises:
        ConfigurationError: *place* is nothing that could be read.
        KeysUnavailableError: No key set was found.
    """
    if place == "-":
        return _given(place, _all_of(sys.stdin.buffer, policy))
    if Path(place).exists():
        try:
            with Path(place).open("rb") as file:
                return _given(place, _all_of(file, policy))
        except OSError as error:
            raise ConfigurationError(f"cannot read the file {quoted(place)}: {error.strerror}") from error
    if "://" not in place:
        raise ConfigurationError(
            f"expected a URL, an existing file or -, got {quoted(place)}", hint="A URL begins with its scheme: https://login.example.com."
        )
    return _at_url(place, fetcher, policy)


def read_bounded(file: BinaryIO, limit: int) -> bytes | None:
    """Return everything in *file*, or None if that is more than *limit* bytes."""
    data = file.read(limit + 1)
    return data if len(data) <= limit else None


def _all_of(file: BinaryIO, policy: RolloverPolicy) -> bytes:
    data = read_bounded(file, policy.max_document_bytes)
    if data is None:
        raise InvalidKeySetError(f"expected a key set of at most {policy.max_document_bytes} bytes, got more")
    return data


def _key_set(location: str, issuer: str | None, document: bytes, content_type: str = "") -> Found:
    found = KeySet.read(document, content_type=content_type)
    return Found(location, issuer, found.keys, found.skipped)


def _is_metadata(document: bytes) -> bool:
    return document.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<" and b"EntityDescriptor" in document


def _given(location: str, document: bytes, content_type: str = "") -> Found:
    """Return the keys of a document that stands where a person pointed: a key set, or federation metadata."""
    if not _is_metadata(document):
        return _key_set(location, None, document, content_type)
    from keyturn._core.federation_metadata import FederationMetadataDocument  # noqa: PLC0415 - loads an XML parser, which few need

    found = FederationMetadataDocument.read(document, now=SystemClock().wall(), content_type=content_type)
    return Found(location, found.entity_id, found.keys.keys, found.keys.skipped)


def _members(document: bytes, content_type: str) -> dict[str, object]:
    try:
        parsed = parse_document(document, content_type)
    except NotStrictJSONError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


# Over the network.


def _at_url(url: str, fetcher: HttpxFetcher, policy: RolloverPolicy) -> Found:
    fetcher.check_location(url, "URL")
    deadline = Deadline(policy.deadline)
    refused = "its answer is neither a key set nor a discovery document"
    try:
        answer = fetcher.fetch(url, headers={}, max_bytes=policy.max_document_bytes, deadline=deadline.left())
    except FetchError as error:
        # An issuer need not answer at its own address.
        refused = error.message
        members: dict[str, object] = {}
    else:
        content_type = answer.headers.get("content-type", "")
        members = _members(answer.body, content_type)
        if "keys" in members or _is_metadata(answer.body):
            return _given(url, answer.body, content_type)
    issuer = members.get("issuer")
    if isinstance(issuer, str) and "jwks_uri" in members:
        return _discovered(Source(issuer, url, direct=False), fetcher, policy, deadline)
    try:
        return _discovered(source_of(url, discovery=None, jwks=None, fetcher=fetcher), fetcher, policy, deadline)
    except KeysUnavailableError as error:
        message = f"{quoted(url)} is neither a key set nor an issuer: as given, {refused}; as an issuer, {error.message}"
        raise type(error)(message, hint=error.hint, retry_after=error.retry_after) from error


def _discovered(source: Source, fetcher: HttpxFetcher, policy: RolloverPolicy, deadline: Deadline) -> Found:
    kept = _Keeping(fetcher, fetcher)
    try:
        reading = read_documents(source, kept, policy, known=None, discovery=True, deadline=deadline, now=SystemClock().wall())
    except ReadError as failed:
        last = kept.documents.get(failed.document)
        if last is None or not isinstance(failed.error, InvalidKeySetError):
            raise failed.error from None
        return _key_set(failed.document, source.issuer, last.body, last.headers.get("content-type", ""))
    return Found(reading.place.url, source.issuer, reading.keys.keys, reading.keys.skipped)


@dataclass(frozen=True, slots=True)
class _Keeping:
    """A fetcher that keeps what it read, so that an answer without a usable key can be shown (3)."""

    base: HttpxFetcher
    fetcher: Fetcher
    documents: dict[str, FetchedDocument] = field(default_factory=dict)

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Read *url*, and keep it."""
        document = self.fetcher.fetch(url, headers=headers, max_bytes=max_bytes, deadline=deadline)
        self.documents[url] = document
        return document

    def within(self, reach: Reach) -> Fetcher:
        """Return the fetcher for what a document of *reach* names."""
        return _Keeping(self.base, self.base.within(reach), self.documents)
