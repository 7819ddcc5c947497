"""AD FS: two names for one key set, tokens that name their key by `x5t` alone, and two certificates during a rollover (U21, U33)."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn import ConfigurationError, InvalidIssuerError, InvalidSignatureError, TokenValidator, UnknownKeyError
from keyturn.issuers import adfs
from keyturn.testing import FakeClock, FakeIssuer
from keyturn.testing.keys import base64url

ISSUER = "https://fs.example.com/adfs"
TRUST = "http://fs.example.com/adfs/services/trust"
X5T = {name: base64url(name.encode().ljust(20, b"-")) for name in ("old", "new")}


class Farm(FakeIssuer):
    """An AD FS whose keys are named after their certificates."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(ISSUER, clock=clock, algorithm="RS256", audience="api://orders", kid="before")
        self.cut_over(X5T["old"], x5t=X5T["old"], alg=None)

    def access(self, *, named: bool = True, key: str | None = None, **claims: Any) -> str:
        """Return an access token; without *named* its header has `x5t` and no kid."""
        signer = key or self.signing_kid
        headers = {"x5t": signer} if named else {"x5t": signer, "kid": None}
        return self.token(key=key, headers=headers, **{"iss": TRUST, "appid": "client", "scp": "openid orders", "ver": "1.0", **claims})

    def discovery(self) -> dict[str, Any]:
        return {**super().discovery(), "access_token_issuer": TRUST}


def farm(**settings: Any) -> tuple[Farm, TokenValidator]:
    """Return an AD FS, and a validator of its tokens."""
    clock = FakeClock()
    issuer = Farm(clock)
    return issuer, adfs.validator(ISSUER, **{"audience": "api://orders", "fetcher": issuer.fetcher(), "clock": clock, **settings})


@pytest.mark.parametrize("name", [TRUST, TRUST.replace("http:", "https:")])
def test_access_tokens_carry_another_name(name: str) -> None:
    """Both spellings of the name that AD FS gives itself are taken, and the claims are read where AD FS writes them."""
    issuer, validator = farm()
    token = validator.validate(issuer.access(iss=name))
    assert (name, "client", {"openid", "orders"}) == (token.issuer, token.client_id, token.scopes)


@pytest.mark.parametrize("name", [ISSUER, TRUST + "/", "http://fs.example.com/services/trust", "http://other.example.com/adfs/services/trust"])
def test_other_names_are_refused(name: str) -> None:
    """Names are exact: that of ID tokens, a slash at the end, and another host are none of an access token; nothing is fetched."""
    issuer, validator = farm()
    with pytest.raises(InvalidIssuerError):
        validator.validate(issuer.access(iss=name))
    issuer.fetches.expect(discovery=0, jwks=0)


def test_id_tokens_carry_the_issuer() -> None:
    """At a login the name of access tokens is refused."""
    issuer, validator = farm(token_type="id", audience="web-client")
    assert ISSUER == validator.validate(issuer.token(audience="web-client", nonce="n"), nonce="n").issuer
    with pytest.raises(InvalidIssuerError):
        validator.validate(issuer.token(audience="web-client", iss=TRUST))


@pytest.mark.parametrize("names", ["urn:fs:example", ["urn:fs:example"], ("urn:other", "urn:fs:example")])
def test_an_explicit_name_replaces_the_usual_ones(names: Any) -> None:
    """What AD FS was told to call itself is configured, and then nothing else is taken."""
    issuer, validator = farm(access_token_issuer=names)
    assert "urn:fs:example" == validator.validate(issuer.access(iss="urn:fs:example")).issuer
    with pytest.raises(InvalidIssuerError, match="setting: issuer"):
        validator.validate(issuer.access())


def test_an_adfs_without_the_second_name() -> None:
    """Where the discovery document has no `access_token_issuer`, the issuer is given."""
    issuer, validator = farm(access_token_issuer=ISSUER)
    assert validator.validate(issuer.access(iss=ISSUER))


@pytest.mark.parametrize(("old_first", "named"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_certificate_rollover(old_first: bool, named: bool) -> None:
    """The secondary appears, signs, and the primary leaves, in either order, with and without a kid: nobody is refused."""
    issuer, validator = farm()
    assert validator.validate(issuer.access(named=named))
    issuer.publish(X5T["new"], x5t=X5T["new"], alg=None)
    if not old_first:
        issuer.shuffle(next(seed for seed in range(100) if _swaps(seed)))
    assert (X5T["old"] if old_first else X5T["new"]) == issuer.published_kids[0]
    validator.client.refresh()
    issuer.fetches.clear()
    assert X5T["old"] == validator.validate(issuer.access(named=named)).key_id
    issuer.promote(X5T["new"])
    assert X5T["new"] == validator.validate(issuer.access(named=named)).key_id
    assert X5T["old"] == validator.validate(issuer.access(named=named, key=X5T["old"])).key_id
    issuer.fetches.expect(discovery=0, jwks=0)
    issuer.retire(X5T["old"])
    validator.client.refresh()
    for kid in (X5T["new"], X5T["old"]):
        assert kid == validator.validate(issuer.access(named=named, key=kid)).key_id


def _swaps(seed: int) -> bool:
    trial = FakeIssuer(kid="a")
    trial.publish("b")
    trial.shuffle(seed)
    return trial.published_kids == ("b", "a")


@pytest.mark.parametrize("named", [True, False])
def test_an_urgent_rollover(named: bool) -> None:
    """A certificate that nobody has seen is fetched with its first token, named by kid or by `x5t` alone (R4)."""
    issuer, validator = farm()
    assert validator.validate(issuer.access(named=named))
    issuer.fetches.clear()
    issuer.cut_over(X5T["new"], x5t=X5T["new"], alg=None)
    assert X5T["new"] == validator.validate(issuer.access(named=named)).key_id
    issuer.fetches.expect(discovery=0, jwks=1)


def test_a_certificate_of_nobody() -> None:
    """An unknown `x5t` is treated as an unknown kid, and a forged signature stays one."""
    issuer, validator = farm()
    assert validator.validate(issuer.access())
    with pytest.raises(UnknownKeyError, match="x5t"):
        validator.validate(issuer.token(headers={"x5t": base64url(b"\1" * 20), "kid": None}, iss=TRUST))
    with pytest.raises(InvalidSignatureError):
        validator.validate(issuer.forge(headers={"x5t": X5T["old"], "kid": None}, iss=TRUST))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"issuer": "fs.example.com"}, "setting: issuer"),
        ({"issuer": None}, "setting: issuer"),
        ({"issuer": ""}, "setting: issuer"),
        ({"access_token_issuer": []}, "setting: access_token_issuer"),
        ({"access_token_issuer": [1]}, "setting: access_token_issuer"),
        ({"access_token_issuer": TRUST, "token_type": "id"}, "setting: access_token_issuer"),
        ({"token_type": "at+jwt"}, "setting: token_type"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], says: str) -> None:
    """They are found at construction."""
    with pytest.raises(ConfigurationError, match=says):
        adfs.validator(**{"issuer": ISSUER, "audience": "api://orders", **settings})
