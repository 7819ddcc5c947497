"""The service under the drill: asked over HTTP, its answers sorted.

Rules of this file:

1. Each request has a connection of its own, so that none fails because a server closed an idle one.
2. Redirects are answers; bodies are not read.
3. No cookie is kept: a session that a good token opened would let a bad one in, which the token did not.
4. Proxies of the environment are used for other machines, never for loopback.
"""

from __future__ import annotations

import ipaddress
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self

import httpx

from keyturn.clock import real_seconds
from keyturn.drill.observations import Answer, outcome_of


class Target:
    """The protected endpoint of a service.

    Args:
        url: Where it is.
        method: HTTP method of the requests.
        accept: Statuses that mean that a token was accepted.
        timeout: Seconds in which an answer must begin.
        ca: Path of a PEM file with the CAs that alone are trusted; None means those that httpx trusts.

    Attributes:
        url: Where it is.
    """

    def __init__(self, url: str, *, method: str, accept: frozenset[int], timeout: float, ca: str | None = None) -> None:
        self.url = url
        self._method, self._accept = method, accept
        host = httpx.URL(url).host
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(
            timeout=timeout,
            limits=limits,
            trust_env=not is_loopback(host),
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            verify=True if ca is None else ssl.create_default_context(cafile=ca),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def ask(self, token: str | None) -> Answer:
        """Send a request, with *token* if there is one, and return what came; safe on several threads."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        started = real_seconds()
        try:
            with self._http.stream(self._method, self.url, headers=headers) as response:
                status = response.status_code
        except httpx.HTTPError as error:
            why = "its certificate is not trusted, setting: --ca" if "CERTIFICATE_VERIFY_FAILED" in str(error) else type(error).__name__
            return Answer("no answer", None, real_seconds() - started, why)
        return Answer(outcome_of(status, self._accept), status, real_seconds() - started)


def is_loopback(host: str) -> bool:
    """Return whether *host* names this machine itself."""
    if host.rstrip(".").lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
