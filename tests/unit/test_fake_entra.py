"""The fake Entra: every document where Entra has it and as Entra writes it, and tokens that presets and plain validators accept."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography import x509
from tests.contract.drivers import until
from tests.unit.material import parts

from keyturn import (
    ClaimError,
    CloudMismatch,
    FetchError,
    GraphTokenError,
    InvalidIssuerError,
    InvalidSignatureError,
    KeySetClient,
    TokenValidator,
    UnknownKeyError,
)
from keyturn.issuers import entra as preset
from keyturn.testing import FakeClock, FakeEntra
from keyturn.testing.entra import APP, CLIENT, TENANT

F = "f645ad92-e38d-4d1a-b510-d1b09a74a8ca"
M = preset.PERSONAL_ACCOUNTS
L, S = "https://login.microsoftonline.com", "https://sts.windows.net"
OTHER_APP = "7e57ab1e-0000-4000-8000-0000000000a2"
NOW = 1_800_000_000
DAY = 86_400.0
ENTRY = {"kty", "use", "kid", "x5t", "n", "e", "x5c"}


@pytest.fixture
def entra() -> FakeEntra:
    """An Entra of two tenants on a clock that stands still."""
    return FakeEntra((TENANT, F), domains={"contoso.test": F}, clock=FakeClock())


def read(entra: FakeEntra, url: str) -> bytes:
    """Return a document without a socket."""
    return entra.fetcher().fetch(url, headers={}, max_bytes=524_288, deadline=60.0).body


def told(entra: FakeEntra, url: str) -> dict[str, Any]:
    """Return a document of JSON."""
    return json.loads(read(entra, url))


def settings(entra: FakeEntra) -> dict[str, Any]:
    """Return what points a validator at the fake."""
    return {"clock": entra.clock, "fetcher": entra.fetcher()}


class TestPlaces:
    """URLs and issuers are those of Entra's own documents."""

    @pytest.mark.parametrize(
        ("url", "issuer", "jwks_uri"),
        [
            (f"{L}/{F}/.well-known/openid-configuration", f"{S}/{F}/", f"{L}/{F}/discovery/keys"),
            (f"{L}/{F}/v2.0/.well-known/openid-configuration", f"{L}/{F}/v2.0", f"{L}/{F}/discovery/v2.0/keys"),
            (f"{L}/contoso.test/v2.0/.well-known/openid-configuration", f"{L}/{F}/v2.0", f"{L}/{F}/discovery/v2.0/keys"),
            (f"{L}/contoso.test/.well-known/openid-configuration", f"{S}/{F}/", f"{L}/{F}/discovery/keys"),
            (f"{L}/{F.upper()}/v2.0/.well-known/openid-configuration", f"{L}/{F}/v2.0", f"{L}/{F}/discovery/v2.0/keys"),
            (f"{L}/common/.well-known/openid-configuration", f"{S}/{{tenantid}}/", f"{L}/common/discovery/keys"),
            (f"{L}/common/v2.0/.well-known/openid-configuration", f"{L}/{{tenantid}}/v2.0", f"{L}/common/discovery/v2.0/keys"),
            (f"{L}/organizations/.well-known/openid-configuration", f"{S}/{{tenantid}}/", f"{L}/organizations/discovery/keys"),
            (f"{L}/organizations/v2.0/.well-known/openid-configuration", f"{L}/{{tenantid}}/v2.0", f"{L}/organizations/discovery/v2.0/keys"),
            (f"{L}/consumers/v2.0/.well-known/openid-configuration", f"{L}/{M}/v2.0", f"{L}/consumers/discovery/v2.0/keys"),
            (
                f"{L}/{F}/v2.0/.well-known/openid-configuration?appid={APP}",
                f"{L}/{F}/v2.0",
                f"{L}/{F}/discovery/v2.0/keys?appid={APP}",
            ),
            (f"{L}/common/.well-known/openid-configuration?appid={APP}", f"{S}/{{tenantid}}/", f"{L}/common/discovery/keys?appid={APP}"),
        ],
    )
    def test_discovery(self, entra: FakeEntra, url: str, issuer: str, jwks_uri: str) -> None:
        """Each document states its issuer, with a slash at the end in version 1 alone, and where its keys stand."""
        document = told(entra, url)
        assert (issuer, jwks_uri) == (document["issuer"], document["jwks_uri"])
        assert (["RS256"], "microsoftonline.com") == (document["id_token_signing_alg_values_supported"], document["cloud_instance_name"])
        assert told(entra, jwks_uri)["keys"]

    @pytest.mark.parametrize(
        ("tenant", "version", "app"),
        [(None, 1, None), (None, 2, None), ("common", 2, None), ("consumers", 2, None), ("contoso.test", 1, APP), (F, 2, OTHER_APP)],
    )
    def test_methods_and_documents_agree(self, entra: FakeEntra, tenant: str | None, version: int, app: str | None) -> None:
        """What a method returns is what stands at the location that its sibling names."""
        asked = {"version": version, "app": app}
        assert entra.discovery(tenant, **asked) == told(entra, entra.discovery_url(tenant, **asked))
        assert entra.jwks(tenant, **asked) == told(entra, entra.jwks_url(tenant, **asked))
        entra.fetches.expect(discovery=1, jwks=1, metadata=0)

    @pytest.mark.parametrize(
        "url",
        [
            f"{L}/775527ff-9a37-4307-8b3d-cc311f58d925/v2.0/.well-known/openid-configuration",
            f"{L}/other.test/discovery/keys",
            f"{L}/consumers/.well-known/openid-configuration",
            f"{L}/{M}/discovery/keys",
        ],
    )
    def test_tenants_without_documents(self, entra: FakeEntra, url: str) -> None:
        """An unknown tenant has none, and personal accounts have none of version 1."""
        with pytest.raises(FetchError, match="answered 400"):
            read(entra, url)

    @pytest.mark.parametrize("url", [f"{L}/{F}/v2.0/keys", f"{L}/common/v2.0", f"{S}/{F}/.well-known/openid-configuration", f"{L}/"])
    def test_places_of_nothing(self, entra: FakeEntra, url: str) -> None:
        """Elsewhere is nothing, and it is counted as that."""
        with pytest.raises(FetchError, match="answered 404"):
            read(entra, url)
        entra.fetches.expect(discovery=0, jwks=0, metadata=0)

    def test_how_long_discovery_may_be_kept(self, entra: FakeEntra) -> None:
        """Discovery answers carry the header that Entra's were recorded with; key sets carry none."""
        fetch = entra.fetcher().fetch
        headers = [fetch(url, headers={}, max_bytes=99_999, deadline=9.0).headers for url in (entra.discovery_url(), entra.jwks_url())]
        assert ["max-age=86400, private", None] == [each.get("cache-control") for each in headers]

    @pytest.mark.parametrize(
        ("cloud", "v1", "v2", "name"),
        [
            (preset.US_GOVERNMENT, f"{S}/{TENANT}/", f"https://login.microsoftonline.us/{TENANT}/v2.0", "microsoftonline.us"),
            (preset.CHINA, f"https://sts.chinacloudapi.cn/{TENANT}/", f"https://login.partner.microsoftonline.cn/{TENANT}/v2.0", None),
        ],
    )
    def test_clouds(self, cloud: preset.Cloud, v1: str, v2: str, name: str | None) -> None:
        """Every cloud has hosts and issuers of its own; what China's keys call their cloud is not known, so they call it nothing."""
        entra = FakeEntra(cloud=cloud, clock=FakeClock())
        assert [v1, v2] == [entra.issuer(version=version) for version in (1, 2)]
        assert f"https://{cloud.host}/{TENANT}/discovery/v2.0/keys" == entra.discovery()["jwks_uri"]
        (entry,) = entra.jwks()["keys"]
        assert name == entry.get("cloud_instance_name") == entra.discovery().get("cloud_instance_name")
        assert "alice" == preset.validator(TENANT, audience=APP, cloud=cloud, **settings(entra)).validate(entra.token()).subject


class TestEntries:
    """Entries of key sets."""

    def test_members(self, entra: FakeEntra) -> None:
        """Kid and thumbprint are one text, the certificate is of the same key, and there is no `alg`."""
        (entry,) = entra.jwks()["keys"]
        (chain,) = entry["x5c"]
        der = base64.b64decode(chain)
        assert ENTRY | {"issuer", "cloud_instance_name"} == set(entry)
        assert entry["kid"] == entry["x5t"] == base64.urlsafe_b64encode(hashlib.sha1(der).digest()).rstrip(b"=").decode()
        modulus = x509.load_der_x509_certificate(der).public_key().public_numbers().n  # type: ignore[union-attr]
        assert modulus == int.from_bytes(base64.urlsafe_b64decode(entry["n"] + "=="))
        assert ("sig", "AQAB", "microsoftonline.com") == (entry["use"], entry["e"], entry["cloud_instance_name"])

    def test_dates(self, entra: FakeEntra) -> None:
        """A certificate is valid for five years, and began some days before its key was published."""
        certificate = x509.load_der_x509_certificate(entra.keys.certificate())
        assert (NOW - 5 * DAY, NOW + (5 * 365 - 5) * DAY) == (certificate.not_valid_before_utc.timestamp(), entra.keys.not_after())

    def test_issuers_of_keys(self, entra: FakeEntra) -> None:
        """Keys name a template where the document is of no tenant, the tenant's issuer where it is of one, and personal accounts' own."""
        named = {tenant: [entry["issuer"] for entry in entra.jwks(tenant)["keys"]] for tenant in ("common", "organizations", "consumers", F)}
        template, personal = f"{L}/{{tenantid}}/v2.0", f"{L}/{M}/v2.0"
        assert {"common": [template, personal], "organizations": [template], "consumers": [personal], F: [f"{L}/{F}/v2.0"]} == named

    @pytest.mark.parametrize("tenant", ["common", "organizations", F])
    def test_version_1(self, entra: FakeEntra, tenant: str) -> None:
        """Entries of version 1 name neither an issuer nor a cloud, and none is of personal accounts."""
        (entry,) = entra.jwks(tenant, version=1)["keys"]
        assert (ENTRY, entra.keys.x5t()) == (set(entry), entry["kid"])

    def test_a_key_of_another_cloud(self, entra: FakeEntra) -> None:
        """What a step says of an entry stands there, in the place of what Entra would write."""
        entra.keys.publish("us", cloud_instance_name="microsoftonline.us")
        assert ["microsoftonline.com", "microsoftonline.us"] == [entry["cloud_instance_name"] for entry in entra.jwks("organizations")["keys"]]

    def test_broken_entries_are_published(self, entra: FakeEntra) -> None:
        """Raw entries stand in the set of every version, whatever they are."""
        entra.keys.add_entry("broken")
        assert ["broken", "broken"] == [entra.jwks(version=version)["keys"][1] for version in (1, 2)]

    def test_keys_of_an_application(self, entra: FakeEntra) -> None:
        """They are published with the application's id alone; another application's documents hold the tenant's keys."""
        own = entra.app_keys()
        assert own is entra.app_keys(APP.upper())
        published = {app: [entry["kid"] for entry in entra.jwks(app=app)["keys"]] for app in (None, APP, OTHER_APP)}
        assert {None: [entra.keys.x5t()], APP: [own.x5t()], OTHER_APP: [entra.keys.x5t()]} == published
        assert [own.x5t()] == [entry["kid"] for entry in told(entra, entra.jwks_url(app=APP.upper()))["keys"]]


class TestTokens:
    """What tokens claim."""

    def test_access_token_of_version_2(self, entra: FakeEntra) -> None:
        """Issuer without a slash, audience is the client id, `azp`, and a kid alone."""
        header, claims, _ = parts(entra.token(scopes=["orders.read", "orders.write"]))
        assert {"alg": "RS256", "typ": "JWT", "kid": entra.keys.x5t()} == header
        oid = claims.pop("oid")
        expected = {"iss": f"{L}/{TENANT}/v2.0", "aud": APP, "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "sub": "alice", "tid": TENANT, "ver": "2.0"}
        assert {**expected, "scp": "orders.read orders.write", "azp": CLIENT, "azpacr": "1"} == claims
        assert [oid, True] == [parts(entra.token())[1]["oid"], oid != parts(entra.token(subject="bob"))[1]["oid"]]

    def test_access_token_of_version_1(self, entra: FakeEntra) -> None:
        """Issuer with a slash, audience is the App ID URI, `appid`, and the header names the certificate twice."""
        header, claims, _ = parts(entra.token(version=1))
        assert {"alg": "RS256", "typ": "JWT", "kid": entra.keys.x5t(), "x5t": entra.keys.x5t()} == header
        expected = {"iss": f"{S}/{TENANT}/", "aud": f"api://{APP}", "appid": CLIENT, "ver": "1.0", "scp": "access_as_user", "tid": TENANT}
        assert expected == {name: claims[name] for name in expected}
        assert "azp" not in claims

    def test_token_of_an_application(self, entra: FakeEntra) -> None:
        """With roles alone there is no scope."""
        claims = parts(entra.token(roles=["Orders.Read.All"], subject=None))[1]
        assert ["Orders.Read.All"] == claims["roles"]
        assert not {"scp", "sub", "oid"} & set(claims)

    @pytest.mark.parametrize(("version", "names"), [(1, {"upn", "unique_name"}), (2, {"preferred_username"})])
    def test_id_token(self, entra: FakeEntra, version: int, names: set[str]) -> None:
        """The audience is the application whatever the version, and nothing tells of a client or a scope."""
        claims = parts(entra.id_token(version=version, nonce="n"))[1]
        assert {"iss", "aud", "iat", "nbf", "exp", "sub", "oid", "tid", "ver", "name", "nonce"} | names == set(claims)
        assert APP == claims["aud"]

    def test_what_is_named_wins(self, entra: FakeEntra) -> None:
        """Claims and header parameters are replaced or left out."""
        header, claims, _ = parts(entra.token(audience=["a", "b"], tid="x", azp=None, headers={"kid": None, "typ": "at+jwt"}))
        assert (["a", "b"], "x", False) == (claims["aud"], claims["tid"], "azp" in claims)
        assert {"alg": "RS256", "typ": "at+jwt"} == header

    def test_who_signs(self, entra: FakeEntra) -> None:
        """Personal accounts and applications with keys of their own sign with those."""
        own = entra.app_keys(OTHER_APP)
        kids = [parts(token)[0]["kid"] for token in (entra.token(), entra.token(tenant="consumers"), entra.token(app=OTHER_APP.upper()))]
        assert [entra.keys.x5t(), entra.personal_keys.x5t(), own.x5t()] == kids

    def test_tenants_that_it_does_not_know(self, entra: FakeEntra) -> None:
        """Anybody can write a tenant into a token, so there are tokens of any."""
        other = "775527ff-9a37-4307-8b3d-cc311f58d925"
        assert f"{L}/{other}/v2.0" == parts(entra.token(tenant=other))[1]["iss"]

    @pytest.mark.parametrize(
        ("step", "words"),
        [
            (lambda e: e.token(version=3), "version is 3, expected 1 or 2"),
            (lambda e: e.token(tenant="nowhere.test"), 'tenant is "nowhere.test", expected a GUID'),
            (lambda e: e.token(key="k9"), "unknown"),
            (lambda e: e.token(version=1, key="k9"), "unknown"),
            (lambda e: e.jwks_url(version=0), "version is 0"),
            (lambda e: e.app_keys("orders"), 'app is "orders", expected a GUID'),
            (lambda e: FakeEntra("contoso"), 'tenant is "contoso"'),
            (lambda e: FakeEntra(()), "tenants is empty"),
            (lambda e: FakeEntra(app="x"), 'app is "x"'),
            (lambda e: e.down(document="xml"), 'document is "xml", expected "jwks", "discovery" or "both", or "metadata"'),
        ],
    )
    def test_misuse(self, entra: FakeEntra, step: Any, words: str) -> None:
        """A step that makes no sense is told."""
        with pytest.raises(ValueError, match=words):
            step(entra)


class TestAccepted:
    """Validators that are pointed at the fake by their fetcher alone."""

    @pytest.mark.parametrize(("version", "audience"), [(1, f"api://{APP}"), (2, APP)])
    def test_by_a_plain_validator(self, entra: FakeEntra, version: int, audience: str) -> None:
        """Nothing but the general rules is needed for one version of one tenant."""
        client = KeySetClient(entra.issuer(version=version), discovery_url=entra.discovery_url(version=version), **settings(entra))
        assert "alice" == TokenValidator(client, audience=audience).validate(entra.token(version=version)).subject
        entra.fetches.expect(discovery=1, jwks=1)

    @pytest.mark.parametrize("tenants", [(TENANT, F), preset.ANY_TENANT, preset.ANY_ORGANIZATION])
    def test_by_the_preset(self, entra: FakeEntra, tenants: Any) -> None:
        """Both versions of both tenants, by documents of each tenant or by those of none."""
        router = preset.router(tenants, audience=(APP, f"api://{APP}"), **settings(entra))
        for tenant in (TENANT, F):
            for version in (1, 2):
                assert tenant == router.validate(entra.token(tenant=tenant, version=version)).claims["tid"]
        documents = 2 if isinstance(tenants, preset.AnyTenant) else 4
        entra.fetches.expect(discovery=documents, jwks=documents)

    def test_personal_accounts(self, entra: FakeEntra) -> None:
        """Their key serves their tenant, in `common` and in `consumers`, and no other tenant's token that it signed."""
        anybody = preset.validator(preset.ANY_TENANT, audience=APP, **settings(entra))
        only = preset.validator(M, audience=APP, **settings(entra))
        for validator in (anybody, only):
            assert M == validator.validate(entra.token(tenant=M)).claims["tid"]
        with pytest.raises(InvalidIssuerError):
            anybody.validate(entra.token(tenant=M, iss=f"{L}/{F}/v2.0", tid=F))
        with pytest.raises(ClaimError, match="personal"):
            preset.validator(preset.ANY_ORGANIZATION, audience=APP, **settings(entra)).validate(entra.token(tenant=M))

    def test_logins(self, entra: FakeEntra) -> None:
        """ID tokens pass at a login and at no API, access tokens the other way round."""
        login = preset.validator(TENANT, audience=APP, token_type="id", **settings(entra))
        api = preset.validator(TENANT, audience=APP, **settings(entra))
        assert "alice" == login.validate(entra.id_token(nonce="n"), nonce="n").subject
        for validator, token in ((login, entra.token()), (api, entra.id_token())):
            with pytest.raises(ClaimError):
                validator.validate(token)

    @pytest.mark.parametrize("version", [1, 2])
    def test_keys_of_an_application(self, entra: FakeEntra, version: int) -> None:
        """Tokens of an application with keys of its own pass where its id is set, and elsewhere the hint says to set it (U19)."""
        entra.app_keys()
        audience = (APP, f"api://{APP}")
        told_of = preset.validator(TENANT, audience=audience, version=version, appid=APP, **settings(entra))
        assert "alice" == told_of.validate(entra.token(version=version)).subject
        with pytest.raises(UnknownKeyError) as caught:
            preset.validator(TENANT, audience=audience, version=version, **settings(entra)).validate(entra.token(version=version))
        assert "appid" in caught.value.hint

    def test_a_key_of_another_cloud(self, entra: FakeEntra) -> None:
        """It is told, or refused where that is asked for."""
        events: list[Any] = []
        entra.keys.cut_over("us", cloud_instance_name="microsoftonline.us")
        client = preset.validator(TENANT, audience=APP, on_event=events.append, **settings(entra))
        client.validate(entra.token())
        until(lambda: ["microsoftonline.us"] == [event.actual for event in events if isinstance(event, CloudMismatch)], "the event")
        with pytest.raises(InvalidIssuerError, match="check_cloud"):
            preset.validator(TENANT, audience=APP, check_cloud=True, **settings(entra)).validate(entra.token())

    def test_forged_tokens(self, entra: FakeEntra) -> None:
        """One under a real name fails at its signature, one under a made-up name at its key."""
        validator = preset.validator(TENANT, audience=APP, **settings(entra))
        with pytest.raises(InvalidSignatureError):
            validator.validate(entra.forge(subject="mallory"))
        with pytest.raises(UnknownKeyError):
            validator.validate(entra.forge(key="nobody"))

    def test_tokens_of_graph(self, entra: FakeEntra) -> None:
        """They are told apart without a request, and their signature is none by the rules of tokens, whoever they are for."""
        with pytest.raises(GraphTokenError):
            preset.validator(TENANT, audience=APP, **settings(entra)).validate(entra.graph_token())
        entra.fetches.expect(discovery=0, jwks=0)
        client = KeySetClient(entra.issuer(), discovery_url=entra.discovery_url(), **settings(entra))
        with pytest.raises(InvalidSignatureError):
            TokenValidator(client, audience="x").validate(entra.graph_token(version=2, audience="x"))

    def test_what_was_signed_of_a_token_of_graph(self, entra: FakeEntra) -> None:
        """The signature is over the header with the SHA-256 of the nonce in the nonce's place."""
        shown, payload, signature = entra.graph_token(nonce="n", version=2, audience="x").split(".")
        header = json.loads(base64.urlsafe_b64decode(shown + "=="))
        hashed = base64.urlsafe_b64encode(hashlib.sha256(b"n").digest()).rstrip(b"=").decode()
        signed = base64.urlsafe_b64encode(json.dumps({**header, "nonce": hashed}, separators=(",", ":")).encode()).rstrip(b"=").decode()
        client = KeySetClient(entra.issuer(), discovery_url=entra.discovery_url(), **settings(entra))
        assert "n" == header["nonce"]
        assert "alice" == TokenValidator(client, audience="x").validate(f"{signed}.{payload}.{signature}").subject
