"""Where Microsoft Entra's documents stand, what they say, and what its tokens claim.

Rules of this file:

1. Everything is made of a cloud's names, a tenant and a version; nothing here holds a key or a state.
2. The issuer of a tenant-independent document is a template, and so is the issuer that its keys name; in the document of one tenant
   both are filled in. Documents of version 1 name neither an issuer nor a cloud for a key.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from keyturn._core.tenant import PLACEHOLDER
from keyturn.issuers.entra import Cloud
from keyturn.testing.account import Document
from keyturn.testing.federation_metadata import PATH
from keyturn.testing.keys import without_none

INDEPENDENT: Final = ("common", "organizations")
"""Names under which the documents of no tenant in particular stand."""

DISCOVERY_HEADERS: Final = {"cache-control": "max-age=86400, private"}

_OF_VERSION_2: Final = ("issuer", "cloud_instance_name")
_PLACES: tuple[tuple[Document, str], ...] = (
    ("discovery", r"/([^/]+)(/v2\.0)?/\.well-known/openid-configuration"),
    ("jwks", r"/([^/]+)/discovery(/v2\.0)?/keys"),
    ("metadata", rf"/([^/]+)()(?i:{re.escape(PATH)})"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a location asks for.

    Attributes:
        document: Which document.
        tenant: The tenant, as the location names it, in lower case.
        version: 1 or 2.
        app: The application whose keys are asked for, or None.
    """

    document: Document
    tenant: str
    version: int
    app: str | None

    @classmethod
    def of(cls, origin: str, location: str) -> Place | None:
        """Return what a location below *origin* asks for, or None."""
        parts = urlsplit(location)
        if f"{parts.scheme}://{parts.netloc}" != origin:
            return None
        for document, pattern in _PLACES:
            match = re.fullmatch(pattern, parts.path)
            if match:
                (app,) = parse_qs(parts.query).get("appid", [""])[:1]
                return cls(document, match[1].lower(), 2 if match[2] else 1, app.lower() or None)
        return None

    def url(self, origin: str) -> str:
        """Return where it is asked for."""
        middle = "/v2.0" if self.version == 2 else ""  # noqa: PLR2004 - its name is its number
        path = {"discovery": f"{middle}/.well-known/openid-configuration", "jwks": f"/discovery{middle}/keys", "metadata": PATH}[self.document]
        query = "" if self.app is None else "?" + urlencode({"appid": self.app})
        return f"{origin}/{self.tenant}{path}{query}"


def issuer(cloud: Cloud, tenant: str, version: int) -> str:
    """Return the issuer of a tenant's tokens, or the template of a document that is of no tenant in particular."""
    template = cloud.v1 if version == 1 else cloud.v2
    return template if tenant in INDEPENDENT else template.replace(PLACEHOLDER, tenant)


def discovery(name: str, jwks_uri: str, *, base: str, cloud: str | None = None, region: str | None = None) -> dict[str, Any]:
    """Return a discovery document.

    Args:
        name: The issuer.
        jwks_uri: Where its key set stands.
        base: What its endpoints stand below.
        cloud: `cloud_instance_name`, if there is one.
        region: `tenant_region_scope`, if it is of one tenant.
    """
    document = {
        "issuer": name,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "jwks_uri": jwks_uri,
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "cloud_instance_name": cloud,
        "tenant_region_scope": region,
    }
    return without_none(document)


def entries(published: Iterable[Any], tenant: str, version: int) -> list[Any]:
    """Return entries of a key set as the document of a tenant and a version shows them; what is no entry stays as it is."""
    return [_entry(each, tenant, version) if isinstance(each, dict) else each for each in published]


def _entry(entry: Mapping[str, Any], tenant: str, version: int) -> dict[str, Any]:
    if version == 1:
        return {name: value for name, value in entry.items() if name not in _OF_VERSION_2}
    named = entry.get("issuer")
    if tenant in INDEPENDENT or not isinstance(named, str):
        return dict(entry)
    return {**entry, "issuer": named.replace(PLACEHOLDER, tenant)}


def user(subject: str | None) -> str | None:
    """Return the `oid` of a subject: made up, and the same one each time."""
    return None if subject is None else str(uuid.uuid5(uuid.NAMESPACE_OID, subject))


def access_claims(version: int, *, client: str, subject: str | None, scopes: str | None, roles: list[str] | None, tenant: str) -> dict[str, Any]:
    """Return what an access token claims beside issuer, audience and times; one with roles alone is an application's."""
    about = {"sub": subject, "oid": user(subject), "tid": tenant, "ver": f"{version}.0", "scp": scopes, "roles": roles}
    return {**about, "appid": client, "appidacr": "1"} if version == 1 else {**about, "azp": client, "azpacr": "1"}


def login_claims(version: int, *, subject: str | None, tenant: str) -> dict[str, Any]:
    """Return what an ID token claims beside issuer, audience and times: nothing of a client, and no scope."""
    about = {"sub": subject, "oid": user(subject), "tid": tenant, "ver": f"{version}.0", "name": subject}
    called = None if subject is None else f"{subject}@contoso.test"
    return {**about, "upn": called, "unique_name": called} if version == 1 else {**about, "preferred_username": called}
