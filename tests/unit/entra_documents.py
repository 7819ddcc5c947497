"""Issuers as Microsoft Entra publishes them: documents that stand elsewhere than their issuer says, keys that name issuer and cloud.

Nothing here is a test, and no published key is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keyturn import FetchError
from keyturn.fetching import FetchedDocument
from keyturn.testing import FakeClock, FakeIssuer

F = "f645ad92-e38d-4d1a-b510-d1b09a74a8ca"
"""Some tenant."""

G = "775527ff-9a37-4307-8b3d-cc311f58d925"
"""Another tenant."""

M = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""Personal Microsoft accounts."""

HOST = "https://login.microsoftonline.com"
T1 = "https://sts.windows.net/{tenantid}/"
T2 = "https://login.microsoftonline.com/{tenantid}/v2.0"
API = "6e74172b-be56-4843-9ff4-e66a39bb12e3"
CLIENT = "11112222-bbbb-3333-cccc-4444dddd5555"
CLOUD = "microsoftonline.com"


def v1(tenant: str) -> str:
    """Return the issuer of version 1 of a tenant."""
    return T1.replace("{tenantid}", tenant)


def v2(tenant: str) -> str:
    """Return the issuer of version 2 of a tenant."""
    return T2.replace("{tenantid}", tenant)


class Directory(FakeIssuer):
    """One issuer, with one key, whose documents stand where they stand.

    Args:
        issuer: What its discovery document says.
        place: Where its documents stand.
        key: Members of its key's entry.
        clock: Clock of its tokens.
        query: Query of its documents, without the question mark.
    """

    def __init__(self, issuer: str, place: str, *, key: Mapping[str, Any], clock: FakeClock, query: str = "", kid: str = "k1") -> None:
        self._place, self._query = place, f"?{query}" if query else ""
        super().__init__(issuer, clock=clock, audience=API, algorithm="RS256", kid=f"before {kid}")
        self.cut_over(kid, **{"alg": None, **key})

    @property
    def discovery_url(self) -> str:
        return f"{self._place}/.well-known/openid-configuration"

    @property
    def jwks_url(self) -> str:
        return f"{self._place}/discovery/keys"

    def discovery(self) -> dict[str, Any]:
        return {**super().discovery(), "jwks_uri": self.jwks_url + self._query, "cloud_instance_name": CLOUD}

    def holds(self, url: str) -> bool:
        """Return whether *url* is one of its documents, query included."""
        return url in {self.discovery_url + self._query, self.jwks_url + self._query}

    def access(self, tenant: str = F, *, version: int = 2, key: str | None = None, **claims: Any) -> str:
        """Return an access token of a tenant as Entra writes it; None leaves a claim out."""
        written = {
            "iss": (v1 if version == 1 else v2)(tenant),
            "tid": tenant,
            "ver": f"{version}.0",
            "appid" if version == 1 else "azp": CLIENT,
            "scp": "orders.read orders.write",
        }
        header = {"x5t": self.signing_kid} if version == 1 else {}
        return self.token(key=key, headers=header, **{**written, **claims})


class Internet:
    """A fetcher that finds each document where it stands, and remembers what was asked."""

    def __init__(self, *issuers: Directory) -> None:
        self._issuers = issuers
        self.asked: list[str] = []

    def fetch(self, url: str, **limits: Any) -> FetchedDocument:
        self.asked.append(url)
        for issuer in self._issuers:
            if issuer.holds(url):
                return issuer.fetcher().fetch(url, **limits)
        raise FetchError(f"nobody is at {url}")


def tenant(name: str, clock: FakeClock, *, version: int = 2, **key: Any) -> Directory:
    """Return the documents of one tenant and one version."""
    if version == 1:
        return Directory(v1(name), f"{HOST}/{name}", key=key, clock=clock)
    return Directory(v2(name), f"{HOST}/{name}/v2.0", key={"issuer": v2(name), "cloud_instance_name": CLOUD, **key}, clock=clock)


def common(clock: FakeClock, *, version: int = 2, name: str = "common", **key: Any) -> Directory:
    """Return the tenant-independent documents of one version."""
    if version == 1:
        return Directory(T1, f"{HOST}/{name}", key=key, clock=clock)
    return Directory(T2, f"{HOST}/{name}/v2.0", key={"issuer": T2, "cloud_instance_name": CLOUD, **key}, clock=clock)
