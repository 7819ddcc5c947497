"""Services that accept signed tokens, straight through their issuer's key rollover.

A name is imported when it is first asked for (PEP 562): a service that only validates loads no store, and a command line tool that
prints its help loads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyturn._core.discovery import DiscoveryDocument
    from keyturn._core.federation_metadata import FederationMetadataDocument, MetadataRole
    from keyturn._core.jwk import CertificateDates, SigningKey
    from keyturn._core.key_set import Candidates, Handle, KeySet, KeySetDifference, SkippedKey
    from keyturn._core.location import Reach
    from keyturn._core.policy import RolloverPolicy
    from keyturn._core.revocation import Revocation
    from keyturn._core.signatures import DEFAULT_ALGORITHMS
    from keyturn._keeping import KeepFresh
    from keyturn.client import KeySetClient
    from keyturn.clock import Clock, SystemClock
    from keyturn.dialect import Dialect
    from keyturn.errors import (
        ClaimError,
        ConfigurationError,
        DisallowedAlgorithmError,
        DiscoveryError,
        ExpiredTokenError,
        FetchError,
        GraphTokenError,
        InsufficientScopeError,
        InvalidAudienceError,
        InvalidIssuerError,
        InvalidKeySetError,
        InvalidRequestError,
        InvalidSignatureError,
        InvalidTokenError,
        KeysUnavailableError,
        KeyturnError,
        MalformedTokenError,
        MissingClaimError,
        MissingTokenError,
        NotYetValidError,
        RevokedKeyError,
        TokenTypeError,
        UnknownKeyError,
    )
    from keyturn.events import (
        ClockJumped,
        CloudMismatch,
        Event,
        EventHandler,
        FetchFailed,
        FetchSucceeded,
        KeyDropped,
        KeyEvent,
        KeyName,
        KeyReplaced,
        KeyReturned,
        KeyRevoked,
        KeySetChanged,
        KeyVanished,
        StaleKeysServed,
        StoreFailed,
        UnknownKey,
    )
    from keyturn.fetching import FetchedDocument, Fetcher, HttpxFetcher
    from keyturn.router import IssuerRouter, by_issuer
    from keyturn.sources import KeySource, StaticKeySet
    from keyturn.status import KeySetStatus, KeyStatus
    from keyturn.stores.file import FileStore
    from keyturn.stores.memory import MemoryStore
    from keyturn.stores.store import Lease, Snapshot, Store, Stored
    from keyturn.validated_token import ValidatedToken
    from keyturn.validator import TokenValidator

_HOMES = {
    "keyturn._core.discovery": ("DiscoveryDocument",),
    "keyturn._core.federation_metadata": ("FederationMetadataDocument", "MetadataRole"),
    "keyturn._core.jwk": ("CertificateDates", "SigningKey"),
    "keyturn._core.key_set": ("Candidates", "Handle", "KeySet", "KeySetDifference", "SkippedKey"),
    "keyturn._core.location": ("Reach",),
    "keyturn._core.policy": ("RolloverPolicy",),
    "keyturn._core.revocation": ("Revocation",),
    "keyturn._core.signatures": ("DEFAULT_ALGORITHMS",),
    "keyturn._keeping": ("KeepFresh",),
    "keyturn.client": ("KeySetClient",),
    "keyturn.clock": ("Clock", "SystemClock"),
    "keyturn.dialect": ("Dialect",),
    "keyturn.errors": (
        "ClaimError",
        "ConfigurationError",
        "DisallowedAlgorithmError",
        "DiscoveryError",
        "ExpiredTokenError",
        "FetchError",
        "GraphTokenError",
        "InsufficientScopeError",
        "InvalidAudienceError",
        "InvalidIssuerError",
        "InvalidKeySetError",
        "InvalidRequestError",
        "InvalidSignatureError",
        "InvalidTokenError",
        "KeysUnavailableError",
        "KeyturnError",
        "MalformedTokenError",
        "MissingClaimError",
        "MissingTokenError",
        "NotYetValidError",
        "RevokedKeyError",
        "TokenTypeError",
        "UnknownKeyError",
    ),
    "keyturn.events": (
        "ClockJumped",
        "CloudMismatch",
        "Event",
        "EventHandler",
        "FetchFailed",
        "FetchSucceeded",
        "KeyDropped",
        "KeyEvent",
        "KeyName",
        "KeyReplaced",
        "KeyReturned",
        "KeyRevoked",
        "KeySetChanged",
        "KeyVanished",
        "StaleKeysServed",
        "StoreFailed",
        "UnknownKey",
    ),
    "keyturn.fetching": ("FetchedDocument", "Fetcher", "HttpxFetcher"),
    "keyturn.router": ("IssuerRouter", "by_issuer"),
    "keyturn.sources": ("KeySource", "StaticKeySet"),
    "keyturn.status": ("KeySetStatus", "KeyStatus"),
    "keyturn.stores.file": ("FileStore",),
    "keyturn.stores.memory": ("MemoryStore",),
    "keyturn.stores.store": ("Lease", "Snapshot", "Store", "Stored"),
    "keyturn.validated_token": ("ValidatedToken",),
    "keyturn.validator": ("TokenValidator",),
}

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return a public name from the module that defines it, and keep it here."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)


__all__ = [
    "DEFAULT_ALGORITHMS",
    "Candidates",
    "CertificateDates",
    "ClaimError",
    "Clock",
    "ClockJumped",
    "CloudMismatch",
    "ConfigurationError",
    "Dialect",
    "DisallowedAlgorithmError",
    "DiscoveryDocument",
    "DiscoveryError",
    "Event",
    "EventHandler",
    "ExpiredTokenError",
    "FederationMetadataDocument",
    "FetchError",
    "FetchFailed",
    "FetchSucceeded",
    "FetchedDocument",
    "Fetcher",
    "FileStore",
    "GraphTokenError",
    "Handle",
    "HttpxFetcher",
    "InsufficientScopeError",
    "InvalidAudienceError",
    "InvalidIssuerError",
    "InvalidKeySetError",
    "InvalidRequestError",
    "InvalidSignatureError",
    "InvalidTokenError",
    "IssuerRouter",
    "KeepFresh",
    "KeyDropped",
    "KeyEvent",
    "KeyName",
    "KeyReplaced",
    "KeyReturned",
    "KeyRevoked",
    "KeySet",
    "KeySetChanged",
    "KeySetClient",
    "KeySetDifference",
    "KeySetStatus",
    "KeySource",
    "KeyStatus",
    "KeyVanished",
    "KeysUnavailableError",
    "KeyturnError",
    "Lease",
    "MalformedTokenError",
    "MemoryStore",
    "MetadataRole",
    "MissingClaimError",
    "MissingTokenError",
    "NotYetValidError",
    "Reach",
    "Revocation",
    "RevokedKeyError",
    "RolloverPolicy",
    "SigningKey",
    "SkippedKey",
    "Snapshot",
    "StaleKeysServed",
    "StaticKeySet",
    "Store",
    "StoreFailed",
    "Stored",
    "SystemClock",
    "TokenTypeError",
    "TokenValidator",
    "UnknownKey",
    "UnknownKeyError",
    "ValidatedToken",
    "by_issuer",
]
