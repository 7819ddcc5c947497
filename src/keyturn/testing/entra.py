"""Microsoft Entra for tests: tenants, both versions, keys of its own for an application, federation metadata, and Graph's odd tokens.

Rules of this file:

1. Keys are rings of their own: those of work accounts in every tenant, those of personal accounts, and those of one application.
   Rollovers are steps of a ring.
2. Every document stands where Entra has it, and names are Entra's own: a validator is pointed at the fake by its fetcher alone.
3. An unknown tenant has no documents. Its tokens can be minted all the same, since anybody can write a tenant into a token.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final

from keyturn._core.tenant import is_guid
from keyturn.clock import Clock
from keyturn.errors import quoted
from keyturn.issuers.entra import GLOBAL, PERSONAL_ACCOUNTS, Cloud
from keyturn.testing import entra_shapes as shapes
from keyturn.testing import federation_metadata as metadata
from keyturn.testing.certificates import DAY, CertifiedKeys
from keyturn.testing.claims import audience_of, listed, spaced, validity
from keyturn.testing.entra_shapes import INDEPENDENT, Place
from keyturn.testing.keys import RSA_BITS, base64url, without_none
from keyturn.testing.publisher import Publication, Publisher, missing, published, published_xml

TENANT: Final = "7e57ab1e-0000-4000-8000-000000000001"
"""The tenant of a `FakeEntra` that was given none."""

APP: Final = "7e57ab1e-0000-4000-8000-0000000000a1"
"""Client id of the API that its tokens are for unless another one is named."""

CLIENT: Final = "7e57ab1e-0000-4000-8000-0000000000c1"
"""Client id of who its tokens are issued to unless another one is named."""

GRAPH: Final = "00000003-0000-0000-c000-000000000000"
"""Client id of Microsoft Graph."""

SCOPES: Final = "access_as_user"
"""`scp` of tokens that name neither scopes nor roles."""

AGE_OF_NEW_CERTIFICATES: Final = 5 * DAY
"""Entra publishes a key some days after its certificate begins."""


class FakeEntra(Publisher):
    """One cloud of Microsoft Entra.

    Args:
        tenants: GUIDs of the tenants that it knows; the first one is meant where none is named.
        domains: Verified domain names, each with the GUID of its tenant.
        app: Client id of the API that its tokens are for.
        cloud: Which cloud it is, one of those of `keyturn.issuers.entra`.
        clock: Clock of its tokens, certificates and account; None means the machine's. Hand the same one to the validator.
        sign_metadata: Whether federation metadata is signed; None means if `keyturn[saml]` is installed.
        rsa_bits: Size of its RSA keys.

    Attributes:
        tenant: The tenant that is meant where none is named.
        app: Client id of the API that its tokens are for.
        cloud: Which cloud it is.
        keys: Keys of work accounts, in every tenant.
        personal_keys: Keys of personal Microsoft accounts.
        clock: Clock of its tokens, certificates and account.
        fetches: What was asked of it.

    Raises:
        ValueError: A tenant or *app* is no GUID.
    """

    def __init__(
        self,
        tenants: str | Collection[str] = TENANT,
        *,
        domains: Mapping[str, str] | None = None,
        app: str = APP,
        cloud: Cloud = GLOBAL,
        clock: Clock | None = None,
        sign_metadata: bool | None = None,
        rsa_bits: int = RSA_BITS,
    ) -> None:
        super().__init__(clock)
        self._domains = {name: _guid(tenant, "tenant") for name, tenant in (domains or {}).items()}
        listed_tenants = (tenants,) if isinstance(tenants, str) else tuple(tenants)
        self._tenants = tuple(dict.fromkeys(_guid(tenant, "tenant") for tenant in (*listed_tenants, *self._domains.values())))
        if not self._tenants:
            raise ValueError("tenants is empty, expected the GUID of at least one tenant")
        self.tenant, self.app, self.cloud = self._tenants[0], _guid(app, "app"), cloud
        self._sign_metadata, self._rsa_bits = sign_metadata, rsa_bits
        self._lock = threading.Lock()
        self.keys = self._ring(issuer=cloud.v2)
        self.personal_keys = self._ring(issuer=self.issuer(PERSONAL_ACCOUNTS), subject="Live ID STS Signing Public Key")
        self._app_keys: dict[str, CertifiedKeys] = {}

    def __repr__(self) -> str:
        return f"<FakeEntra {self.cloud.host} tenants={list(self._tenants)!r} signing={self.keys.signing_kid!r}>"

    @property
    def origin(self) -> str:
        """Scheme and host of its documents, such as `https://login.microsoftonline.com`."""
        return f"https://{self.cloud.host}"

    def app_keys(self, app: str | None = None) -> CertifiedKeys:
        """Return the keys of one application; None means the API that tokens are for.

        They are made at the first call, as an administrator makes them once. From then on its tokens are signed with them, and they
        are published with `?appid=` alone.

        Args:
            app: Its client id.

        Raises:
            ValueError: *app* is no GUID.
        """
        name = self.app if app is None else _guid(app, "app")
        with self._lock:
            if name not in self._app_keys:
                self._app_keys[name] = self._ring(issuer=self.cloud.v2, subject=f"Signing key of {name}")
            return self._app_keys[name]

    # Documents. A tenant is a GUID, a verified domain name, "common", "organizations" or "consumers"; None means the first one.

    def issuer(self, tenant: str | None = None, *, version: int = 2) -> str:
        """Return the issuer of a tenant's tokens; of "common" and "organizations" the template `{tenantid}`.

        Args:
            tenant: The tenant.
            version: 1 or 2.

        Raises:
            ValueError: The tenant is neither known nor a GUID, or there is no such version.
        """
        return shapes.issuer(self.cloud, self._resolved(tenant), _version(version))

    def discovery_url(self, tenant: str | None = None, *, version: int = 2, app: str | None = None) -> str:
        """Return where a discovery document stands; with *app*, that of an application's own keys."""
        return Place("discovery", tenant or self.tenant, _version(version), app).url(self.origin)

    def jwks_url(self, tenant: str | None = None, *, version: int = 2, app: str | None = None) -> str:
        """Return where a key set stands; with *app*, that of an application's own keys."""
        return Place("jwks", tenant or self.tenant, _version(version), app).url(self.origin)

    def metadata_url(self, tenant: str | None = None, *, app: str | None = None) -> str:
        """Return where federation metadata stands; with *app*, that of an application's own keys."""
        return Place("metadata", tenant or self.tenant, 1, app).url(self.origin)

    def discovery(self, tenant: str | None = None, *, version: int = 2, app: str | None = None) -> dict[str, Any]:
        """Return a discovery document as published now."""
        name = self._resolved(tenant)
        # It leads to the tenant by the name that it was asked for, but for a domain's.
        place = name if tenant not in (*INDEPENDENT, "consumers") else str(tenant)
        return shapes.discovery(
            self.issuer(name, version=version),
            self.jwks_url(place, version=version, app=app),
            base=f"{self.origin}/{place}/oauth2" + ("" if version == 1 else "/v2.0"),
            cloud=self.cloud.name,
            region=None if name in INDEPENDENT else "EU",
        )

    def jwks(self, tenant: str | None = None, *, version: int = 2, app: str | None = None) -> dict[str, Any]:
        """Return a key set as published now: "common" holds the keys of personal accounts as well, where version 2 knows them."""
        name = self._resolved(tenant)
        rings = [self._signs(name, app)]
        if name == "common" and _version(version) != 1 and rings == [self.keys]:
            rings.append(self.personal_keys)
        return {"keys": shapes.entries([entry for ring in rings for entry in ring.jwks()["keys"]], name, version)}

    def metadata(self, tenant: str | None = None, *, app: str | None = None) -> bytes:
        """Return federation metadata as published now, signed by the signing key if it is signed at all.

        Raises:
            ConfigurationError: It must be signed, and cannot be.
        """
        name = self._resolved(tenant)
        ring = self._signs(name, app)
        certificates, address = ring.certificates(), f"{self.origin}/{name}/wsfed"
        return metadata.document(
            self.issuer(name, version=1),
            metadata.token_service(certificates, address),
            metadata.application(*(metadata.descriptor(each) for each in certificates)),
            metadata.identity_provider(certificates, address.replace("/wsfed", "/saml2")),
            signer=metadata.chosen_signer(self._sign_metadata, ring.lend),
        )

    # Tokens.

    def token(
        self,
        *,
        tenant: str | None = None,
        version: int = 2,
        app: str | None = None,
        subject: str | None = "alice",
        client: str = CLIENT,
        audience: str | Collection[str] | None = None,
        scopes: str | Collection[str] | None = None,
        roles: Collection[str] | None = None,
        lifetime: float | timedelta = 3600,
        key: str | None = None,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return an access token, good from now on by the clock of this Entra.

        Args:
            tenant: The user's tenant, any GUID; that of personal accounts is `keyturn.issuers.entra.PERSONAL_ACCOUNTS`.
            version: 1 or 2.
            app: Client id of the API that it is for; one with `app_keys()` signs with them.
            subject: `sub`; `oid` is made of it.
            client: Client id of who it is issued to: `azp`, or `appid` in version 1.
            audience: `aud`; None means *app*, and `api://` before it in version 1.
            scopes: `scp`, in one string; `access_as_user` unless there are roles. A token with roles alone is an application's.
            roles: `roles`, as a list.
            lifetime: Seconds from `iat` to `exp`, or a timedelta; negative for a token that has expired.
            key: Kid of the key to sign with, as steps call it; None means the signing key.
            headers: Header parameters, added or in place of ours; None leaves one out.
            **claims: Claims, added or in place of those above; None leaves one out.

        Raises:
            ValueError: *key* or *version* is unknown, or *tenant* is none.
        """
        name, meant = self._resolved(tenant), app or self.app
        scp = SCOPES if scopes is None and roles is None else spaced(scopes)
        payload = {
            "aud": audience_of(audience if audience is not None else meant if _version(version) != 1 else f"api://{meant}"),
            **shapes.access_claims(version, client=client, subject=subject, scopes=scp, roles=listed(roles), tenant=name),
        }
        return self._token(payload, claims, tenant=name, version=version, app=meant, lifetime=lifetime, key=key, headers=headers)

    def id_token(
        self,
        *,
        tenant: str | None = None,
        version: int = 2,
        app: str | None = None,
        subject: str | None = "alice",
        lifetime: float | timedelta = 3600,
        key: str | None = None,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return an ID token for the application *app*; `nonce=` writes the claim that a login asks for.

        The arguments are those of `token()`.
        """
        name, meant = self._resolved(tenant), app or self.app
        payload = {"aud": meant, **shapes.login_claims(_version(version), subject=subject, tenant=name)}
        return self._token(payload, claims, tenant=name, version=version, app=meant, lifetime=lifetime, key=key, headers=headers)

    def graph_token(self, *, nonce: str = "keyturn-test-nonce", version: int = 1, audience: str = GRAPH, **token: Any) -> str:
        """Return a token for Microsoft Graph: its header has a nonce, and another header was signed, with the nonce's SHA-256 in its place.

        Nobody but Graph can verify it.

        Args:
            nonce: The nonce in the header.
            version: 1 or 2.
            audience: `aud`.
            **token: Whatever else `token()` takes.
        """
        hashed = base64url(hashlib.sha256(nonce.encode()).digest())
        headers = dict(token.pop("headers", None) or {})
        asked = {"app": GRAPH, "version": version, "audience": audience, **token}
        shown = self.token(headers={**headers, "nonce": nonce}, **asked).split(".")
        signature = self.token(headers={**headers, "nonce": hashed}, **asked).rpartition(".")[2]
        return ".".join([*shown[:2], signature])

    def forge(self, *, key: str | None = None, headers: Mapping[str, Any] | None = None, **token: Any) -> str:
        """Return an access token that names a key, but is signed with one that nobody of this process publishes.

        Args:
            key: Kid to claim, known or not; None means the signing key.
            headers: As for `token()`.
            **token: Whatever else `token()` takes.
        """
        ring = self._signs(self._resolved(token.get("tenant")), token.get("app") or self.app)
        return ring.disguised(self.token, key=key, headers=headers, **token)

    def _token(
        self,
        payload: Mapping[str, Any],
        claims: Mapping[str, Any],
        *,
        tenant: str,
        version: int,
        app: str,
        lifetime: float | timedelta,
        key: str | None,
        headers: Mapping[str, Any] | None,
    ) -> str:
        ring, times = self._signs(tenant, app), validity(self.clock, lifetime)
        common = {"iss": self.issuer(tenant, version=version), **times, "nbf": times["iat"]}
        # Tokens of version 1 name their certificate as well.
        named = {"x5t": ring.x5t(key)} if version == 1 else {}
        return ring.signed({**common, **payload, **claims}, key=key, headers={**named, **(headers or {})})

    def _signs(self, tenant: str, app: str | None) -> CertifiedKeys:
        """Return the keys that sign for a tenant, or for an application that has keys of its own."""
        with self._lock:
            own = None if app is None else self._app_keys.get(app.lower())
        if own is not None:
            return own
        return self.personal_keys if tenant == PERSONAL_ACCOUNTS else self.keys

    def _resolved(self, tenant: str | None) -> str:
        """Return the GUID of a tenant, or the name of the documents that are of none."""
        if tenant is None or tenant in INDEPENDENT:
            return tenant or self.tenant
        if tenant == "consumers":
            return PERSONAL_ACCOUNTS
        return self._domains.get(tenant) or _guid(tenant, "tenant")

    def _ring(self, *, issuer: str, subject: str = "accounts.accesscontrol.windows.net") -> CertifiedKeys:
        members = without_none({"issuer": issuer, "cloud_instance_name": self.cloud.name})
        return CertifiedKeys(
            now=lambda: self.clock.wall() - AGE_OF_NEW_CERTIFICATES, subject=subject, rsa_bits=self._rsa_bits, members={**members, "alg": None}
        )

    def _served(self) -> tuple[str, str]:
        return self.discovery_url(), self.jwks_url()

    def _published(self, location: str) -> Publication:
        place = Place.of(self.origin, location)
        if place is None:
            return missing()
        known = {*INDEPENDENT, "consumers", PERSONAL_ACCOUNTS, *self._tenants, *self._domains}
        tenant = place.tenant
        if tenant not in known or (place.version == 1 and tenant in {"consumers", PERSONAL_ACCOUNTS}):
            return missing(400, "invalid_tenant")
        if place.document == "discovery":
            return published("discovery", self.discovery(tenant, version=place.version, app=place.app), shapes.DISCOVERY_HEADERS)
        if place.document == "jwks":
            return published("jwks", self.jwks(tenant, version=place.version, app=place.app))
        return published_xml(self.metadata(tenant, app=place.app))


def _guid(text: str, what: str) -> str:
    if not is_guid(text):
        raise ValueError(f'{what} is {quoted(text)}, expected a GUID such as "{TENANT}"')
    return text.lower()


def _version(version: int) -> int:
    if version not in {1, 2}:
        raise ValueError(f"version is {quoted(version)}, expected 1 or 2")
    return version
