"""What a handler gets: a token whose every check has passed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from keyturn._core.claims import names_of
from keyturn.errors import quoted


class ValidatedToken:
    """A token that passed every check. Immutable; its `repr` shows issuer, key and expiry, no claim and no token.

    To tell users apart take `issuer` and `subject` together: a subject is unique only within its issuer, and an e-mail address
    is not an identity (OpenID Connect Core, section 5.7).
    """

    __slots__ = ("_parts",)

    _parts: tuple[dict[str, Any], Mapping[str, Any], str]

    def __init__(self, claims: dict[str, Any], header: Mapping[str, Any], key_id: str) -> None:
        # One assignment in place of three, and by the slot itself: every validation makes one of these.
        set_parts(self, (claims, header, key_id))

    @property
    def issuer(self) -> str:
        """Who issued it (`iss`)."""
        return str(self._parts[0]["iss"])

    @property
    def subject(self) -> str | None:
        """Whom it is about (`sub`), or None."""
        return self._parts[0].get("sub")

    @property
    def audience(self) -> tuple[str, ...]:
        """For whom it is (`aud`), always as a tuple."""
        audience = self._parts[0]["aud"]
        return (audience,) if isinstance(audience, str) else tuple(audience)

    @property
    def client_id(self) -> str | None:
        """The client that it was issued to: `client_id`, else `azp`; None if neither is there."""
        client = self._parts[0].get("client_id")
        if client is None:
            client = self._parts[0].get("azp")
        return client if isinstance(client, str) else None

    @property
    def scopes(self) -> frozenset[str]:
        """What it was issued for: `scope`, else `scp`, a string divided at blanks or a list."""
        scope = self._parts[0].get("scope")
        return names_of(self._parts[0].get("scp") if scope is None else scope)

    @property
    def roles(self) -> frozenset[str]:
        """The roles that it grants (`roles`)."""
        return names_of(self._parts[0].get("roles"))

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch at which it expires (`exp`), leeway apart."""
        return float(self._parts[0]["exp"])

    @property
    def issued_at(self) -> float | None:
        """Seconds since the epoch at which it was issued (`iat`), or None."""
        issued = self._parts[0].get("iat")
        return None if issued is None else float(issued)

    @property
    def key_id(self) -> str:
        """The kid of the key that verified it, or its thumbprint where it has none."""
        return self._parts[2]

    @property
    def is_authenticated(self) -> bool:
        """True: frameworks ask this of `request.user`."""
        return True

    @property
    def is_active(self) -> bool:
        """True: frameworks ask this of `request.user`; whoever must be locked out sooner than a token expires is looked up by its subject."""
        return True

    @property
    def is_anonymous(self) -> bool:
        """False: frameworks ask this of `request.user`."""
        return False

    @property
    def identity(self) -> str:
        """The subject, or an empty string: what Starlette asks of a user. It is unique within its issuer alone."""
        return self.subject or ""

    @property
    def display_name(self) -> str:
        """The same as `identity`: what Starlette asks of a user."""
        return self.identity

    @property
    def pk(self) -> str:
        """A name that no user of another issuer has: SHA-256 of issuer and subject in hex digits, fit for keys of caches and counters.

        Where a token has no subject the client stands for it, and no client has the name of a subject.
        """
        whom = ["sub", self.subject] if self.subject is not None else ["client", self.client_id]
        return hashlib.sha256(json.dumps([self.issuer, *whom]).encode()).hexdigest()

    @property
    def claims(self) -> Mapping[str, Any]:
        """Every claim, as sent."""
        return MappingProxyType(self._parts[0])

    @property
    def header(self) -> Mapping[str, Any]:
        """The JOSE header, as sent."""
        return MappingProxyType(dict(self._parts[1]))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: what was verified stays as it was."""
        raise AttributeError(f"a ValidatedToken cannot be changed (attribute {name})")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: what was verified stays as it was."""
        raise AttributeError(f"a ValidatedToken cannot be changed (attribute {name})")

    def __eq__(self, other: object) -> bool:
        """Return whether both say the same, verified by the same key."""
        if not isinstance(other, ValidatedToken):
            return NotImplemented
        return self._parts == other._parts

    def __hash__(self) -> int:
        """Return a hash that fits equality."""
        return hash((self.issuer, self.subject, self.expires_at, self._parts[2]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the claims and the header; there is no token and no signature in it."""
        return ValidatedToken, (self._parts[0], dict(self._parts[1]), self._parts[2])

    def __repr__(self) -> str:
        """Return issuer, key and expiry alone, because users log `request.user`."""
        return f"<ValidatedToken issuer={quoted(self.issuer)} key_id={quoted(self.key_id)} expires_at={self.expires_at:.0f}>"


set_parts = vars(ValidatedToken)["_parts"].__set__
"""Fills the slot, past the refusal of `__setattr__`."""
