"""Where the tokens of one kind of issuer differ from the general rules: data for the one validator.

Rules of this file:

1. A dialect takes no check away. It may name another claim for the audience, and adds checks.
2. What it checks is checked on unverified claims, before a key is looked up, so that no refresh is spent on a token that cannot pass
   (R6); only what a key's entry says is judged after the signature, with the very key that verified it.
3. A dialect belongs to one validator, and decides nothing about tokens of another (R15).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from keyturn._core import claims as check
from keyturn._core.jwk import SigningKey
from keyturn._core.tenant import check_tenant, is_published_for
from keyturn.errors import ClaimError, ConfigurationError, InvalidAudienceError, InvalidIssuerError, MissingClaimError, quoted
from keyturn.validated_token import ValidatedToken

Claims = Mapping[str, Any]
Path = tuple[str, ...]
"""Where a value stands: the name of a claim, or several names where it stands inside objects."""


class Reading(NamedTuple):
    """Where a token says what `ValidatedToken` tells.

    Attributes:
        audience: The claim that names who it is for.
        scopes: Paths of which the first that is there holds the scopes.
        roles: The same for roles.
        clients: The same for the client.
    """

    audience: str
    scopes: tuple[Path, ...]
    roles: tuple[Path, ...]
    clients: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Where tokens of one kind of issuer differ from the general rules. The presets of `keyturn.issuers` are made of these.

    Attributes:
        audience_claim: The claim that names who the token is for, in the place of `aud`.
        tenant_claim: The claim that fills in `{tenantid}` in names of the issuer and of keys; None where nothing is filled in.
        scopes: Where `ValidatedToken.scopes` is read: the first of these that is there. Each is the path to a value.
        roles: The same for `ValidatedToken.roles`.
        clients: The same for `ValidatedToken.client_id`.
        checks: Called with the unverified claims once the general checks have passed; each raises an `InvalidTokenError` or returns.
        first_checks: Called with the unverified header and claims before any other check, to name what a token is that could never pass.
        route_claims: Further claims that a token of this validator has, for the `route` of an `IssuerRouter`.
        cloud: The cloud that keys must name, if they name one; None where that is not judged.
        check_cloud: Whether a key of another cloud is refused, or told by `CloudMismatch`.
        issuer_hint: Takes the claims of a token whose issuer was refused; returns a sentence for the person who can act, or None.
        key_hint: The same for a token whose key nobody publishes.
    """

    audience_claim: str = "aud"
    tenant_claim: str | None = None
    scopes: tuple[Path, ...] = (("scope",), ("scp",))
    roles: tuple[Path, ...] = (("roles",),)
    clients: tuple[Path, ...] = (("client_id",), ("azp",))
    checks: tuple[Callable[[Claims], None], ...] = ()
    first_checks: tuple[Callable[[Mapping[str, Any], Claims], None], ...] = ()
    route_claims: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    cloud: str | None = None
    check_cloud: bool = False
    issuer_hint: Callable[[Claims], str | None] | None = None
    key_hint: Callable[[Claims], str | None] | None = None

    def __post_init__(self) -> None:
        """Check the paths: text in the place of one would be taken letter by letter, and read nothing.

        Raises:
            ConfigurationError: One of them is no path.
        """
        for setting in ("scopes", "roles", "clients"):
            for path in _paths(getattr(self, setting), setting):
                if not isinstance(path, tuple) or not path or not all(isinstance(name, str) for name in path):
                    raise _no_path(path, setting)

    def check_first(self, header: Mapping[str, Any], claims: Claims) -> None:
        """Name what could never pass.

        Raises:
            InvalidTokenError: By `first_checks`.
        """
        for each in self.first_checks:
            each(header, claims)

    def check_names(self, claims: Claims, issuers: Collection[str], audiences: Collection[str]) -> None:
        """Judge who issued the token, and for whom.

        Raises:
            ClaimError: Somebody else, or for somebody else.
        """
        try:
            if self.tenant_claim is None:
                check.check_issuer(claims, issuers)
            else:
                check_tenant(claims, issuers, self.tenant_claim)
        except InvalidIssuerError as error:
            error.hint = self.hint_for_issuer(claims) or error.hint
            raise
        if self.audience_claim == "aud":
            check.check_audience(claims, audiences)
        else:
            _check_audience_claim(claims, self.audience_claim, audiences)

    def check_claims(self, claims: Claims) -> None:
        """Judge what only this dialect knows.

        Raises:
            InvalidTokenError: By `checks`, or a claim to be read later is of a type that cannot be read.
        """
        for path in (*self.scopes, *self.roles):
            _check_names_at(claims, path)
        for each in self.checks:
            each(claims)

    def is_for(self, key: SigningKey, claims: Claims, issuers: Collection[str]) -> bool:
        """Return whether *key* may vouch for a token with *claims*: its entry names no issuer, or this one."""
        return is_published_for(key.issuer, claims, issuers, self.tenant_claim)

    def hint_for_issuer(self, claims: Claims) -> str | None:
        """Return what to tell about a token whose issuer was refused."""
        return None if self.issuer_hint is None else self.issuer_hint(claims)

    def hint_for_key(self, claims: Claims) -> str | None:
        """Return what to tell about a token whose key nobody publishes."""
        return None if self.key_hint is None else self.key_hint(claims)

    def token(self, claims: dict[str, Any], header: Mapping[str, Any], key_id: str) -> ValidatedToken:
        """Return the token as this dialect reads it."""
        return DialectToken(claims, header, key_id, Reading(self.audience_claim, self.scopes, self.roles, self.clients))


class DialectToken(ValidatedToken):
    """A validated token whose audience, scopes, roles and client stand where its dialect says."""

    __slots__ = ("_reading",)

    _reading: Reading

    def __init__(self, claims: dict[str, Any], header: Mapping[str, Any], key_id: str, reading: Reading) -> None:
        super().__init__(claims, header, key_id)
        object.__setattr__(self, "_reading", reading)

    @property
    def audience(self) -> tuple[str, ...]:
        """For whom it is, always as a tuple."""
        audience = self.claims[self._reading.audience]
        return (audience,) if isinstance(audience, str) else tuple(audience)

    @property
    def client_id(self) -> str | None:
        """The client that it was issued to, or None."""
        client = _first(self.claims, self._reading.clients)
        return client if isinstance(client, str) else None

    @property
    def scopes(self) -> frozenset[str]:
        """What it was issued for."""
        return check.names_of(_first(self.claims, self._reading.scopes))

    @property
    def roles(self) -> frozenset[str]:
        """The roles that it grants."""
        return check.names_of(_first(self.claims, self._reading.roles))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the claims, the header and where to read them; there is no token and no signature in it."""
        return DialectToken, (dict(self.claims), dict(self.header), self.key_id, self._reading)


def _paths(paths: object, setting: str) -> tuple[object, ...]:
    if not isinstance(paths, tuple):
        raise _no_path(paths, setting)
    return paths


def _no_path(path: object, setting: str) -> ConfigurationError:
    return ConfigurationError(
        f'{setting} holds {quoted(path)}, expected a tuple of paths, such as (("realm_access", "roles"),) (setting: {setting})',
        hint="A path is a tuple itself, of the names that lead to the value; keyturn.readings has the usual ones.",
    )


def _first(claims: Claims, paths: tuple[Path, ...]) -> Any:
    return next((value for path in paths if (value := _at(claims, path)) is not None), None)


def _at(claims: Claims, path: Path) -> Any:
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _check_names_at(claims: Claims, path: Path) -> None:
    # A value of another type refuses the token: read as an empty set it would show up as a puzzling 403.
    value: Any = claims
    for name in path:
        if not isinstance(value, Mapping):
            raise _wrong_type(path, value, "an object")
        value = value.get(name)
        if value is None:
            return
    if not (isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value))):
        raise _wrong_type(path, value, "a string or a list of strings")


def _wrong_type(path: Path, value: object, expected: str) -> ClaimError:
    return ClaimError(f"{'.'.join(path)} is {quoted(value)}, expected {expected}", claim=path[0], expected=expected, actual=quoted(value))


def _check_audience_claim(claims: Claims, claim: str, audiences: Collection[str]) -> None:
    """Judge the claim that stands for `aud`: exactly one of ours."""
    audience = claims.get(claim)
    if isinstance(audience, str) and audience in audiences:
        return
    if audience is None:
        raise MissingClaimError(f"the claim {claim} is missing", claim=claim, expected="present", actual="absent")
    expected = " or ".join(quoted(name) for name in sorted(audiences)[:5])
    raise InvalidAudienceError(
        f"{claim} is {quoted(audience)}, expected {expected} (setting: audience)", claim=claim, expected=expected, actual=quoted(audience)
    )
