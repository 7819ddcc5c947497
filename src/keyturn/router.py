"""Several issuers behind one door: exactly one validator judges a token, alone.

Rules of this file:

1. The route is read from the unverified token and decides nothing but who judges; the judge reads the token again by itself.
2. Nothing that a token says makes a client, and no match means no fetch.
3. Two validators on one route are a mistake of configuration, found at construction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keyturn._core.signatures import ALGORITHMS
from keyturn._core.token import read_token
from keyturn.errors import ConfigurationError, InvalidIssuerError, MissingClaimError, quoted
from keyturn.status import KeySetStatus
from keyturn.validated_token import ValidatedToken
from keyturn.validator import LARGEST_TOKEN, TokenValidator

Route = Callable[[Mapping[str, Any]], object]
"""Takes unverified claims, returns the name of the route; called with the claims that a validator stands for as well."""

_SHOWN = 5


def by_issuer(unverified_claims: Mapping[str, Any]) -> object:
    """Return the claim `iss`, by which validators are told apart unless a preset knows better."""
    return unverified_claims.get("iss")


class IssuerRouter:
    """Hands each token to the one validator of its issuer, which judges it with its own keys, audience, algorithms and claims.

    Args:
        validators: One for each issuer.
        route: How to tell from unverified claims which validator a token is for.

    Raises:
        ConfigurationError: No validator, or two with one route.
    """

    def __init__(self, *validators: TokenValidator, route: Route = by_issuer) -> None:
        if not validators:
            raise ConfigurationError("no validator is given, expected at least one (setting: validators)")
        if not callable(route):
            raise ConfigurationError(f"route is {quoted(route)}, expected a function that takes claims (setting: route)")
        self._route = route
        self._validators: dict[object, TokenValidator] = {}
        self._max_bytes = 0
        for validator in validators:
            self._add(validator)

    def validate(self, token: str, *, nonce: str | None = None) -> ValidatedToken:
        """Return *token*'s claims after its issuer's validator has passed it.

        Args:
            token: The compact token.
            nonce: What the login sent; only for ID tokens.

        Raises:
            InvalidIssuerError: No validator is for this issuer; nothing was fetched.
            InvalidTokenError: The token is at fault (401).
            KeysUnavailableError: Nobody can know (503).
        """
        return self._judge_of(token).validate(token, nonce=nonce)

    async def validate_async(self, token: str, *, nonce: str | None = None) -> ValidatedToken:
        """Do the same as `validate()`, without blocking the event loop."""
        return await self._judge_of(token).validate_async(token, nonce=nonce)

    @property
    def issuers(self) -> frozenset[str]:
        """The names that `iss` may have, of all validators."""
        return frozenset(name for validator in self._validators.values() for name in validator.issuers)

    @property
    def validators(self) -> tuple[TokenValidator, ...]:
        """Each validator once, in the order in which they were given."""
        return tuple(dict.fromkeys(self._validators.values()))

    def status(self) -> Mapping[str, KeySetStatus]:
        """Return the status of each route."""
        return {str(name): validator.status() for name, validator in self._validators.items()}

    def _add(self, validator: TokenValidator) -> None:
        if not isinstance(validator, TokenValidator):
            raise ConfigurationError(f"expected a TokenValidator, got {quoted(validator)} (setting: validators)")
        self._max_bytes = min(LARGEST_TOKEN, max(self._max_bytes, validator.max_token_bytes))
        for issuer in validator.issuers:
            name = self._route({"iss": issuer, **(validator.dialect.route_claims if validator.dialect else {})})
            if name in self._validators:
                raise ConfigurationError(f"two validators are for {quoted(name)}, expected one (setting: validators)")
            self._validators[name] = validator

    def _validator_for(self, name: object) -> TokenValidator | None:
        try:
            return self._validators.get(name) if isinstance(name, (str, tuple)) else None
        except TypeError:
            # A route of several claims may hold a list or an object out of a hostile token.
            return None

    def _judge_of(self, token: str) -> TokenValidator:
        unverified = read_token(token, algorithms=ALGORITHMS, max_bytes=self._max_bytes)
        claims = unverified.unverified_claims
        if claims.get("iss") is None:
            raise MissingClaimError("the claim iss is missing", claim="iss", expected="present", actual="absent")
        name = self._route(claims)
        validator = self._validator_for(name)
        if validator is None:
            expected = " or ".join(quoted(known) for known in sorted(map(str, self._validators))[:_SHOWN])
            # Nobody judges this token; whose tokens are expected here may still know what it is.
            dialects = [known.dialect for known in self._validators.values() if known.dialect]
            for dialect in dialects:
                dialect.check_first(unverified.unverified_header, claims)
            raise InvalidIssuerError(
                f"issuer is {quoted(claims['iss'])}, expected {expected} (setting: validators)",
                claim="iss",
                expected=expected,
                actual=quoted(claims["iss"]),
                hint=next((hint for dialect in dialects if (hint := dialect.hint_for_issuer(claims))), None),
            )
        return validator
