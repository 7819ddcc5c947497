"""Services that accept signed tokens, straight through their issuer's key rollover."""

from keyturn._core.discovery import DiscoveryDocument
from keyturn._core.jwk import CertificateDates, SigningKey
from keyturn._core.key_set import Candidates, Handle, KeySet, KeySetDifference, SkippedKey
from keyturn._core.policy import RolloverPolicy
from keyturn._core.revocation import Revocation
from keyturn._core.signatures import DEFAULT_ALGORITHMS
from keyturn.client import KeySetClient
from keyturn.clock import Clock, SystemClock
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
    InvalidSignatureError,
    InvalidTokenError,
    KeysUnavailableError,
    KeyturnError,
    MalformedTokenError,
    MissingClaimError,
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

__all__ = [
    "DEFAULT_ALGORITHMS",
    "Candidates",
    "CertificateDates",
    "ClaimError",
    "Clock",
    "ClockJumped",
    "CloudMismatch",
    "ConfigurationError",
    "DisallowedAlgorithmError",
    "DiscoveryDocument",
    "DiscoveryError",
    "Event",
    "EventHandler",
    "ExpiredTokenError",
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
    "InvalidSignatureError",
    "InvalidTokenError",
    "IssuerRouter",
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
    "MissingClaimError",
    "NotYetValidError",
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
