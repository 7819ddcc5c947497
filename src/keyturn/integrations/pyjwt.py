"""A drop-in for PyJWT's `PyJWKClient`, over keys that follow a rollover.

Rules of this file:

1. It answers the same calls with the same objects, and every error is also the one that PyJWT would raise, so that handlers stay true.
2. It never asks the issuer for more than the client's rules allow: there is no `refresh`, and no cache to be set.
3. A key is bound to the algorithm of the token's header, which must be an allowed one: PyJWT takes a key without `alg` for RS256.
4. Nobody says here for whom a token is or when it expires, so a token that could never pass may cost a look-up (R6 is weaker), within
   the allowance (R5). `TokenValidator` judges first and asks afterwards.
5. A key that its entry publishes for one issuer alone verifies no token of another, as with `TokenValidator`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jwt

from keyturn import errors
from keyturn._core.jwk import SigningKey
from keyturn._core.signatures import DEFAULT_ALGORITHMS
from keyturn._core.tenant import filled_in, is_guid
from keyturn._core.token import UnverifiedToken, read_token
from keyturn._judging_settings import allowed
from keyturn.client import KeySetClient
from keyturn.errors import ConfigurationError, KeyturnError, quoted
from keyturn.integrations._held import Held, held_keys, known_keys, usual_algorithm

__all__ = [
    "JWKClient",
    "RefusedAlgorithmError",
    "RevokedSigningKeyError",
    "SigningKeysUnavailableError",
    "UnknownSigningKeyError",
    "UnreadableTokenError",
    "WrongSignatureError",
]

PYJWT_ALGORITHMS = tuple(name for name in DEFAULT_ALGORITHMS if name in jwt.algorithms.get_default_algorithms())
"""What both keyturn and PyJWT verify: PyJWT knows no `Ed25519` and no `Ed448` (RFC 9864), `EdDSA` alone."""


class UnknownSigningKeyError(errors.UnknownKeyError, jwt.PyJWKClientError):
    """The issuer publishes no key that fits (401)."""


class RevokedSigningKeyError(errors.RevokedKeyError, jwt.PyJWKClientError):
    """The key was revoked here (401)."""


class SigningKeysUnavailableError(errors.KeysUnavailableError, jwt.exceptions.PyJWKClientConnectionError):
    """Nobody can know: the issuer's keys could not be read (503)."""


class WrongSignatureError(errors.InvalidSignatureError, jwt.InvalidSignatureError):
    """No key that fits verifies the signature (401); PyJWT finds that one step later, with the same error."""


class UnreadableTokenError(errors.MalformedTokenError, jwt.DecodeError):
    """The text is no signed token (401)."""


class RefusedAlgorithmError(errors.DisallowedAlgorithmError, jwt.InvalidAlgorithmError):
    """The header's algorithm is not allowed (401)."""


_KINDS = (
    (errors.UnknownKeyError, UnknownSigningKeyError),
    (errors.RevokedKeyError, RevokedSigningKeyError),
    (errors.KeysUnavailableError, SigningKeysUnavailableError),
    (errors.InvalidSignatureError, WrongSignatureError),
    (errors.MalformedTokenError, UnreadableTokenError),
    (errors.DisallowedAlgorithmError, RefusedAlgorithmError),
)


class JWKClient:
    """Stands where a `jwt.PyJWKClient` stood.

    Args:
        source: Knows the keys. To keep the address of a key set, `KeySetClient(issuer, jwks_url=...)`.
        algorithms: Allowed signature algorithms; hand the same ones to `jwt.decode()`.
        max_token_bytes: Length above which a token is refused unread.

    Raises:
        ConfigurationError: A setting is wrong.

    Attributes:
        source: Knows the keys: `client.source.refresh()` and `.revoke()` are for operators.
    """

    def __init__(self, source: Held, *, algorithms: Collection[str] = PYJWT_ALGORITHMS, max_token_bytes: int = 16_384) -> None:
        if not isinstance(source, Held):
            raise ConfigurationError(
                f"source is {quoted(source)}, expected a KeySetClient or a StaticKeySet (setting: source)",
                hint="For the address of a key set, hand over KeySetClient(issuer, jwks_url=...).",
            )
        self.source = source
        self._algorithms = allowed(algorithms)
        if unknown := sorted(self._algorithms - set(PYJWT_ALGORITHMS)):
            raise ConfigurationError(f"algorithms hold {quoted(unknown[0])}, which PyJWT does not verify (setting: algorithms)")
        self._max_token_bytes = max_token_bytes

    def get_signing_key_from_jwt(self, token: str | bytes) -> jwt.PyJWK:
        """Return the key that verifies *token*; waits for a refresh only if it is not held (R4).

        Args:
            token: The compact token.

        Raises:
            UnknownSigningKeyError: The issuer publishes no such key.
            RevokedSigningKeyError: The key was revoked.
            WrongSignatureError: No key that fits verifies the signature.
            UnreadableTokenError: The text is no signed token.
            RefusedAlgorithmError: Its algorithm is not allowed.
            SigningKeysUnavailableError: Nobody can know (503).
        """
        with _as_pyjwt():
            unverified = self._read(token)
            return _bound(self._key_of(unverified), unverified.unverified_header["alg"])

    async def get_signing_key_from_jwt_async(self, token: str | bytes) -> jwt.PyJWK:
        """Do the same, without blocking the event loop; PyJWT itself has no such call."""
        with _as_pyjwt():
            unverified = self._read(token)
            header, verifies = unverified.unverified_header, _verifier(unverified)
            if isinstance(self.source, KeySetClient):
                found = (await self.source._find_async(self.source._inquiry(header, verifies))).found  # noqa: SLF001 - as the validator does
            else:
                found = await self.source.keys_for_async(header)
            return _bound(_first(found, verifies), header["alg"])

    def get_signing_key(self, kid: str) -> jwt.PyJWK:
        """Return the key named *kid*, bound to its own algorithm; one without `alg` to the usual one of its type, RS256 for RSA.

        Raises:
            UnknownSigningKeyError: The issuer publishes no such key.
            RevokedSigningKeyError: The key was revoked.
            SigningKeysUnavailableError: Nobody can know (503).
        """
        with _as_pyjwt():
            try:
                key = self._named(kid)
            except errors.UnknownKeyError:
                # Only now its algorithm may be known: the refresh may have brought it.
                if self._algorithm_of(kid) is None:
                    raise
                key = self._named(kid)
            return _bound(key, self._usual(key))

    def get_signing_keys(self) -> list[jwt.PyJWK]:
        """Return every key that is held and has a kid.

        Raises:
            PyJWKClientError: There is none.
            SigningKeysUnavailableError: Nobody can know (503).
        """
        named = [key for key in self.get_jwk_set().keys if key.key_id]
        if not named:
            raise jwt.PyJWKClientError("the issuer publishes no key with a kid")
        return named

    def get_jwk_set(self) -> jwt.PyJWKSet:
        """Return the keys that are held now, read first if none is, or if they are due.

        Raises:
            PyJWKSetError: None of them is for an allowed algorithm.
            SigningKeysUnavailableError: Nobody can know (503).
        """
        with _as_pyjwt():
            held = held_keys(self.source, self._algorithms)
            return jwt.PyJWKSet([{**key.public_jwk(), "alg": self._usual(key)} for key in held])

    def _read(self, token: str | bytes) -> UnverifiedToken:
        # Of bytes each is a character of its own, so that what is not ASCII is refused as it is in text.
        return read_token(token.decode("latin-1") if isinstance(token, bytes) else token, self._algorithms, self._max_token_bytes)

    def _key_of(self, unverified: UnverifiedToken) -> SigningKey:
        header, verifies = unverified.unverified_header, _verifier(unverified)
        if isinstance(self.source, KeySetClient):
            found = self.source._find(self.source._inquiry(header, verifies)).found  # noqa: SLF001 - as the validator does
        else:
            found = self.source.keys_for(header)
        return _first(found, verifies)

    def _named(self, kid: str) -> SigningKey:
        return self.source.keys_for({"kid": kid, "alg": self._algorithm_of(kid) or min(self._algorithms)})[0]

    def _algorithm_of(self, kid: str) -> str | None:
        held = (self._usual(key) for key in known_keys(self.source, self._algorithms) if key.kid == kid)
        return next(held, None) or self._algorithm_of_revoked(kid)

    def _algorithm_of_revoked(self, kid: str) -> str | None:
        # What is held shows no revoked key, and to ask for one under another algorithm would spend a look-up on it (R11).
        if not isinstance(self.source, KeySetClient):
            return None
        matching = self.source._keeper.matching  # noqa: SLF001 - as the client's own questions do
        return next((name for name in sorted(self._algorithms) if matching({"kid": kid, "alg": name}).banned.keys), None)

    def _usual(self, key: SigningKey) -> str:
        return usual_algorithm(key, self._algorithms)


def _verifier(unverified: UnverifiedToken) -> Any:
    algorithm, signature, signing_input = unverified.unverified_header["alg"], unverified.signature, unverified.signing_input
    claims = unverified.unverified_claims
    return lambda key: _serves(key, claims) and key.verifies(algorithm, signature, signing_input)


def _serves(key: SigningKey, claims: Mapping[str, Any]) -> bool:
    """Return whether the key's entry names no issuer, or that of the token; Entra writes one with a place for the tenant."""
    if key.issuer is None or not key.issuer.strip():
        return True
    tenant = claims.get("tid")
    return claims.get("iss") == (filled_in(key.issuer, tenant) if isinstance(tenant, str) and is_guid(tenant) else key.issuer)


def _first(keys: tuple[SigningKey, ...], verifies: Any) -> SigningKey:
    for key in keys:
        if verifies(key):
            return key
    raise errors.InvalidSignatureError(f"the signature verifies under none of {len(keys)} keys that fit")


def _bound(key: SigningKey, algorithm: str) -> jwt.PyJWK:
    return jwt.PyJWK(key.public_jwk(), algorithm)


@contextmanager
def _as_pyjwt() -> Iterator[None]:
    try:
        yield
    except KeyturnError as error:
        for ours, both in _KINDS:
            if isinstance(error, ours):
                raise both(error.message, hint=error.hint, retry_after=error.retry_after) from error
        raise
