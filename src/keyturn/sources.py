"""Where keys come from: the protocol, and keys that never change."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import MOST_CANDIDATES, MOST_KEYS, KeySet
from keyturn._core.signatures import ALGORITHMS
from keyturn._core.token import check_header
from keyturn._reading import keys_of, metadata_source
from keyturn.clock import SystemClock
from keyturn.errors import ConfigurationError, MalformedTokenError, UnknownKeyError, quoted
from keyturn.status import KeySetStatus, fixed_status


@runtime_checkable
class KeySource(Protocol):
    """Something that knows the keys of one issuer.

    Attributes:
        issuer: The issuer whose keys these are; an empty string where only the validator knows.
    """

    issuer: str

    def keys_for(self, header: Mapping[str, Any]) -> tuple[SigningKey, ...]:
        """Return the keys that fit a token's header; none fits: `UnknownKeyError`."""
        ...

    async def keys_for_async(self, header: Mapping[str, Any]) -> tuple[SigningKey, ...]:
        """Return the same without blocking the event loop."""
        ...

    def status(self) -> KeySetStatus:
        """Return where this source stands now."""
        ...


class StaticKeySet:
    """Fixed keys: for tests, for a trust that is installed by hand, for one-off checks.

    Nothing is fetched and nothing rolls over: whoever uses it replaces it when the issuer rotates. The validator over a key set needs
    `issuer=`, because a key set does not say whose it is; federation metadata does.
    """

    def __init__(self, keys: KeySet, location: str = "memory", *, issuer: str = "") -> None:
        self._keys = keys
        self._location = location
        self.issuer = issuer

    @classmethod
    def from_jwks(cls, document: bytes | str | Mapping[str, Any]) -> StaticKeySet:
        """Read a JWK Set (RFC 7517, section 5), as mapping, text or bytes.

        Raises:
            InvalidKeySetError: Not a key set, or no usable key.
        """
        return cls(KeySet.from_jwks(document))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> StaticKeySet:
        """Read a JWK Set from a file.

        Raises:
            ConfigurationError: The file cannot be read.
            InvalidKeySetError: Not a key set, or no usable key.
        """
        try:
            document = Path(path).read_bytes()
        except (OSError, TypeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigurationError(f"cannot read the key set in {quoted(str(path))}: {reason} (setting: path)") from error
        return cls(KeySet.from_jwks(document), os.fspath(path))

    @classmethod
    def from_metadata(cls, document: bytes, *, issuer: str, signers: str | Collection[str] = ()) -> StaticKeySet:
        """Read federation metadata (SAML V2.0 Metadata; WS-Federation 1.2, section 3).

        Args:
            document: The document.
            issuer: The entityID that it must have.
            signers: SHA-256 thumbprint of the certificate that must have signed it, or several of which one must have. Needs `keyturn[saml]`.

        Raises:
            ConfigurationError: *signers* cannot be used.
            InvalidKeySetError: Not such a document, of another issuer, not valid any more, not signed as asked, or no usable key.
        """
        source = metadata_source(issuer, "memory", signers)
        keys, _ = keys_of(source, document, max_keys=MOST_KEYS, now=SystemClock().wall())
        return cls(keys, issuer=issuer)

    def keys_for(self, header: Mapping[str, Any]) -> tuple[SigningKey, ...]:
        """Return the keys that fit *header*.

        Raises:
            UnknownKeyError: None does.
            InvalidTokenError: The header cannot be one of a token.
        """
        if not isinstance(header, Mapping):
            raise MalformedTokenError(f"expected the header as a mapping, got {type(header).__name__}")
        check_header(header, ALGORITHMS)
        found = self._keys.candidates(header, limit=MOST_CANDIDATES)
        if not found.keys:
            reason = self._keys.why_not(header)
            named = self._keys.handle(header)
            because = f": that key {reason}" if reason else ""
            raise UnknownKeyError(
                f"no key fits {named.member or 'the algorithm'} {quoted(named.value if named.member else header.get('alg'))}{because}",
                hint="These keys are fixed. If the issuer has rotated, replace them, or use a KeySetClient, which follows a rollover.",
            )
        return found.keys

    async def keys_for_async(self, header: Mapping[str, Any]) -> tuple[SigningKey, ...]:
        """Return the keys that fit *header*; nothing waits."""
        return self.keys_for(header)

    def snapshot(self) -> KeySet:
        """Return the keys."""
        return self._keys

    def status(self) -> KeySetStatus:
        """Return the fixed status of fixed keys."""
        return fixed_status(self.issuer, self._location, self._keys)
