"""A wrong setting or argument is told as our own error, where it is given, and never as whatever it broke inside.

Rules of this file:

1. What is refused by name is listed by name; beside it everything odd is tried everywhere, and may be taken or be refused with an
   error of ours.
2. Nothing here fetches: a setting is wrong before anything is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyturn import ConfigurationError, IssuerRouter, KeySetClient, KeyturnError, MalformedTokenError, StaticKeySet, TokenValidator
from keyturn.testing import FakeIssuer

AUDIENCE = "api://test"
ISSUER = FakeIssuer()
JWKS = ISSUER.jwks()
LONE = "\ud800"
"""Half a character, as a command line hands over what is not UTF-8."""

ODD: list[Any] = [5, 5.5, True, float("nan"), None, "", LONE, "a.b.c", b"x", object(), [1], [None], {"a": 1}, ()]


def client(**settings: Any) -> KeySetClient:
    """Return a client of an issuer that nobody asks."""
    return KeySetClient(**{"issuer": ISSUER.issuer, "fetcher": ISSUER.fetcher(), **settings})


def validator(**settings: Any) -> TokenValidator:
    """Return a validator over fixed keys."""
    given = {"source": StaticKeySet.from_jwks(JWKS), "audience": AUDIENCE, "issuer": ISSUER.issuer, **settings}
    return TokenValidator(given.pop("source"), **given)


class TestRefusedByName:
    """The message names the setting to change."""

    @pytest.mark.parametrize("handlers", [None, 5, float("nan"), True, object(), "print", [None], [print, 5], {"a": 1}])
    def test_handlers_of_events_that_cannot_be_called(self, handlers: Any) -> None:
        """Of a client, and of a validator that builds one."""
        with pytest.raises(ConfigurationError, match="setting: on_event"):
            client(on_event=handlers)
        with pytest.raises(ConfigurationError, match="setting: on_event"):
            TokenValidator(ISSUER.issuer, audience=AUDIENCE, fetcher=ISSUER.fetcher(), on_event=handlers)

    @pytest.mark.parametrize("revoked", [None, 5, float("nan"), True, object(), "", "A" * 43, LONE])
    def test_revoked_that_is_no_list(self, revoked: Any) -> None:
        """One thumbprint in place of a list would be taken letter by letter."""
        with pytest.raises(ConfigurationError, match="setting: revoked"):
            client(revoked=revoked)

    @pytest.mark.parametrize("revoked", [[None], [5], ["k1"], [LONE], {"a": 1}, b"x"])
    def test_revoked_that_lists_no_thumbprints(self, revoked: Any) -> None:
        """A kid is no thumbprint, and a number is none either."""
        with pytest.raises(ConfigurationError, match="setting: thumbprint"):
            client(revoked=revoked)

    @pytest.mark.parametrize("setting", ["policy", "fetcher", "store", "clock"])
    @pytest.mark.parametrize("value", [value for value in ODD if value is not None])
    def test_parts_of_another_kind(self, setting: str, value: Any) -> None:
        """A part that cannot do its work is refused before the first token."""
        with pytest.raises(ConfigurationError, match=f"setting: {setting}"):
            client(**{setting: value})

    @pytest.mark.parametrize("route", [None, 5, "iss", b"x", ["iss"]])
    def test_route_that_cannot_be_called(self, route: Any) -> None:
        """The name of a claim is no route."""
        with pytest.raises(ConfigurationError, match="setting: route"):
            IssuerRouter(validator(), route=route)

    @pytest.mark.parametrize("entry", ODD)
    def test_what_is_no_validator(self, entry: Any) -> None:
        """A router takes validators."""
        with pytest.raises(ConfigurationError, match="setting: validators"):
            IssuerRouter(entry)

    @pytest.mark.parametrize("path", [None, 5, 5.5, True, object(), b"keys.json", LONE, "a\0b", ["keys.json"], {}])
    def test_path_that_is_none(self, path: Any) -> None:
        """A file that cannot be read is told as one, whatever the path is."""
        with pytest.raises(ConfigurationError, match="cannot read the key set in .*setting: path"):
            StaticKeySet.from_file(path)

    @pytest.mark.parametrize("name", [value for value in ODD if value is not None and value not in ("", "a.b.c")])
    def test_kid_that_is_no_text(self, name: Any) -> None:
        """What no document can hold names no key (R11)."""
        for call in (client().revoke, client().reinstate):
            with pytest.raises(ConfigurationError, match="setting: kid"):
                call(kid=name)

    @pytest.mark.parametrize("name", [value for value in ODD if value is not None])
    def test_thumbprint_that_is_none(self, name: Any) -> None:
        """Nor does what is no digest."""
        for call in (client().revoke, client().reinstate):
            with pytest.raises(ConfigurationError, match="setting: thumbprint"):
                call(thumbprint=name)

    @pytest.mark.parametrize("header", [value for value in ODD if not isinstance(value, dict)])
    def test_header_that_is_no_mapping(self, header: Any) -> None:
        """Whoever asks for keys with something else meets the same error at either source."""
        for source in (client(), StaticKeySet.from_jwks(JWKS)):
            with pytest.raises(MalformedTokenError, match="expected the header as a mapping"):
                source.keys_for(header)


def _fixed() -> StaticKeySet:
    """Return keys that are also found by a certificate's thumbprint."""
    return StaticKeySet.from_jwks({"keys": [{**JWKS["keys"][0], "x5t": "A" * 27}]})


CALLS: dict[str, Callable[[Any], object]] = {
    **{
        f"client {name}": (lambda value, name=name: client(**{name: value}))
        for name in (
            "issuer",
            "discovery_url",
            "jwks_url",
            "metadata_url",
            "metadata_signer",
            "policy",
            "fetcher",
            "store",
            "clock",
            "revoked",
            "on_event",
        )
    },
    **{
        f"validator {name}": (lambda value, name=name: validator(**{name: value}))
        for name in (
            *("source", "audience", "issuer", "algorithms", "leeway", "token_type", "required_claims", "max_token_bytes"),
            *("policy", "clock", "on_event"),
        )
    },
    "validate": lambda value: validator().validate(value),
    "nonce": lambda value: validator(token_type="id").validate(ISSUER.token(), nonce=value),
    "router": lambda value: IssuerRouter(validator()).validate(value),
    "route": lambda value: IssuerRouter(validator(), route=value),
    "fixed keys": StaticKeySet.from_jwks,
    "header": lambda value: _fixed().keys_for(value),
    "alg": lambda value: _fixed().keys_for({"alg": value}),
    "kid": lambda value: _fixed().keys_for({"alg": "ES256", "kid": value}),
    "x5t": lambda value: _fixed().keys_for({"alg": "ES256", "x5t": value}),
}


@pytest.mark.parametrize("name", CALLS)
def test_whatever_is_given_only_our_errors_are_raised(name: str) -> None:
    """A setting or an argument of any type is taken, or is refused with an error that names it; nothing inside breaks on it."""
    told = []
    for value in ODD:
        try:
            CALLS[name](value)
        except KeyturnError as error:
            told.append(str(error))
    assert told
    assert all(text.isprintable() for text in told)


def test_path_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A good path to nothing is refused in the same words."""
    with pytest.raises(ConfigurationError, match="No such file.*setting: path"):
        StaticKeySet.from_file(tmp_path / "absent" / "keys.json")
