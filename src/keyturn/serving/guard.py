"""Who may use the control API and the page: their own page and programs, never the page of another site.

Rules of this file:

1. The name in `Host` is an address, `localhost`, or one that the user gave. A name of somebody else's that leads here was made to do so
   (DNS rebinding); an address cannot be.
2. A page that a browser shows may use the control API if it came from here: `Origin` is this very origin, and `Sec-Fetch-Site` names no
   other site. Programs send neither field.
3. A body is `application/json`, which a form of another site cannot send without a question beforehand, and that is answered with no.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from keyturn.errors import quoted
from keyturn.serving.exchange import RefusedError, Request

_OWN_SITE = {"same-origin", "none"}


class Guard:
    """Refuses what does not belong.

    Args:
        names: Host names that the user gave, in lower case.
        scheme: "http" or "https".
    """

    def __init__(self, names: Collection[str], scheme: str) -> None:
        self._names = {"localhost", *names}
        self._scheme = scheme

    def check_host(self, request: Request) -> None:
        """Refuse a request that came under a name of somebody else's (1).

        Raises:
            RefusedError: It did.
        """
        host = request.headers.get("host", "")
        name = _host_name(host)
        if name not in self._names and not _is_address(name):
            raise RefusedError(403, "forbidden_host", f"Host is {quoted(host)}, expected an address or localhost (setting: --allow-host)")

    def check_control(self, request: Request) -> None:
        """Refuse a request that the page of another site may have caused (1, 2, 3).

        Raises:
            RefusedError: It is one.
        """
        self.check_host(request)
        site = request.headers.get("sec-fetch-site", "none").lower()
        origin = request.headers.get("origin")
        own = f"{self._scheme}://{request.headers.get('host', '')}".lower()
        if site not in _OWN_SITE or (origin is not None and origin.lower() != own):
            raise RefusedError(403, "forbidden_origin", f"the request comes from {quoted(origin or site)}, expected a program or {quoted(own)}")
        if request.method == "POST" and request.media_type != "application/json":
            sent = request.headers.get("content-type", "")
            raise RefusedError(415, "unsupported_media_type", f"Content-Type is {quoted(sent)}, expected application/json")


def _host_name(host: str) -> str:
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname or ""
    except ValueError:
        return ""
    # A user or a path has no place in it (RFC 9110, section 7.2), and would let another name stand beside ours.
    return name if parts.netloc == host and "@" not in host else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
