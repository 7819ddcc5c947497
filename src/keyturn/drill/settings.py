"""What a drill is told: where the service is, how it is started, how long to watch.

Rules of this file:

1. What cannot work is refused before anything is started: a URL that is none, a command that cannot be split, a status that is no answer.
"""

from __future__ import annotations

import json
import math
import shlex
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import httpx

from keyturn.drill.observations import DEFAULT_ACCEPT
from keyturn.errors import ConfigurationError, quoted
from keyturn.testing.keys import ALGORITHMS

ISSUER_PORT: Final = 8779
"""Port of the drill's issuer where the service is configured by hand and none is named."""

WATCH_LIMITS: Final = (0.1, 3600.0)
"""Seconds that `watch` may be."""

PAUSE_LIMITS: Final = (0.0, 86_400.0)
"""Seconds that `pause` may be."""

_STATUSES = (100, 599)
_REFUSALS = {401, 503}
_LARGEST_PORT = 65_535
# Those are the drill's own business, or names of its own for something else.
_TAKEN_CLAIMS = {"iss", "aud", "exp", "iat", "nbf", "self", "subject", "audience", "scopes", "lifetime", "key", "headers"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a drill is run.

    Attributes:
        url: The protected endpoint of the service.
        start: Words of the command that starts the service anew for each scenario; empty if it runs already.
        issuer_port: Port of the drill's issuer on 127.0.0.1; 0 means a free one with `start`, and `ISSUER_PORT` without.
        audience: Audience of the tokens.
        method: HTTP method of the requests.
        algorithm: Algorithm of the keys.
        claims: Claims of every token beside those of the drill.
        accept: Statuses that mean that a token was accepted.
        watch: Seconds for which times are watched at most.
        pause: Seconds to wait before a scenario that needs a refresh, without `start`.
        ready_timeout: Seconds in which a started service must answer.
        timeout: Seconds in which an answer must begin.
        ca: Path of a PEM file with the CAs that alone are trusted for an https URL; None means those that httpx trusts.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    url: str
    start: Sequence[str] = ()
    issuer_port: int = 0
    audience: str = "api://drill"
    method: str = "GET"
    algorithm: str = "RS256"
    claims: Mapping[str, Any] = field(default_factory=dict)
    accept: frozenset[int] = DEFAULT_ACCEPT
    watch: float = 60.0
    pause: float = 310.0
    ready_timeout: float = 30.0
    timeout: float = 10.0
    ca: str | None = None

    def __post_init__(self) -> None:
        place = parsed_url(self.url)
        if not place.port and not self.start and place.port is not None:
            raise ConfigurationError("port 0 means a free one for each start, expected --start with it", hint="Name the port, or give --start.")
        if self.algorithm not in ALGORITHMS:
            raise ConfigurationError(f"expected one of {', '.join(ALGORITHMS)}, got {quoted(self.algorithm)} (setting: --algorithm)")
        if not 0 <= self.issuer_port <= _LARGEST_PORT:
            raise ConfigurationError(f"expected a port from 0 to {_LARGEST_PORT}, got {self.issuer_port} (setting: --issuer-port)")
        if not self.method.isascii() or not self.method.isalpha():
            raise ConfigurationError(f"expected an HTTP method such as GET, got {quoted(self.method)} (setting: --method)")
        for name, seconds, (low, high) in (("watch", self.watch, WATCH_LIMITS), ("pause", self.pause, PAUSE_LIMITS)):
            if not low <= seconds <= high:
                raise ConfigurationError(f"expected seconds from {low:g} to {high:g}, got {seconds:g} (setting: --{name})")
        if self.ca is not None:
            try:
                ssl.create_default_context(cafile=self.ca)
            except OSError as error:
                raise ConfigurationError(f"expected a PEM file of CAs, got {quoted(self.ca)} (setting: --ca)") from error

    @property
    def place(self) -> SplitResult:
        """The parts of the URL."""
        return parsed_url(self.url)

    @property
    def port_of_issuer(self) -> int:
        """Port that the drill's issuer listens on, 0 for a free one."""
        return self.issuer_port or (0 if self.start else ISSUER_PORT)


def parsed_url(url: str) -> SplitResult:
    """Return the parts of an http(s) URL.

    Raises:
        ConfigurationError: It is none, or holds a user name, which would stand in reports.
    """
    if "@" in url.partition("//")[2].partition("/")[0]:
        # Before anything that repeats the URL.
        raise ConfigurationError("the URL holds a user name, expected none: requests carry a bearer token")
    try:
        place = urlsplit(url)
        # What sends the requests must be able to read it, too; an empty label of a host fails only where its name is looked up.
        httpx.URL(url).host.encode("idna")
        usable = place.scheme in {"http", "https"} and bool(place.hostname) and (place.port or 0) >= 0 and url.isprintable() and " " not in url
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise ConfigurationError(f"expected an http or https URL, got {quoted(url)}", hint="For example http://127.0.0.1:8000/orders.")
    return place


def split_command(text: str) -> tuple[str, ...]:
    """Return the words of a command as a POSIX shell would split it, without running one.

    Raises:
        ConfigurationError: There is no word, or a quote is not closed.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigurationError(f"cannot split the command: {error} (setting: --start)") from error
    if not words:
        raise ConfigurationError("expected a command, got nothing (setting: --start)")
    return words


def parse_accept(text: str) -> frozenset[int]:
    """Return the statuses of a list such as `200-299,404`.

    Raises:
        ConfigurationError: It is none, or holds 401 or 503, which say the contrary.
    """
    statuses: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            low, high = 0, 0
        if not _STATUSES[0] <= low <= high <= _STATUSES[1]:
            raise ConfigurationError(f"expected statuses such as 200-299,404, got {quoted(text)} (setting: --accept)")
        statuses |= set(range(low, high + 1))
    if statuses & _REFUSALS:
        raise ConfigurationError("401 and 503 say that a token was not accepted, expected other statuses (setting: --accept)")
    return frozenset(statuses)


def parse_claim(text: str) -> tuple[str, Any]:
    """Return name and value of `NAME=VALUE`; a value that is JSON is read as such, any other is a text.

    Raises:
        ConfigurationError: It is none, or names a claim that is the drill's own.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigurationError(f"expected NAME=VALUE, got {quoted(text)} (setting: --claim)")
    if name in _TAKEN_CLAIMS:
        raise ConfigurationError(f"the drill writes {quoted(name)} itself, expected another claim (setting: --claim)")
    parsed = _json_or_text(value)
    if name == "roles" and not isinstance(parsed, list):
        raise ConfigurationError(f"expected roles as a JSON list, got {quoted(value)} (setting: --claim)", hint="For example 'roles=[\"admin\"]'.")
    return name, parsed


def _json_or_text(value: str) -> Any:
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return value if isinstance(parsed, float) and not math.isfinite(parsed) else parsed
