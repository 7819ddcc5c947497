"""Where a document may be read: URLs and addresses judged without a socket.

Rules of this file:

1. A URL is taken apart here, by one strict grammar (RFC 3986, ASCII only), so that no second parser can see another host in it.
2. What the user configured is trusted as to its address, not as to its form: https, or clear text on loopback or for `http_hosts` (R16).
3. What a document names is judged by how far that document may lead, which is where it was itself reached (`Reach`).
   Public leads to public; private leads to public and private; loopback leads anywhere (R16).
4. `http_hosts` permits clear text and no address; `private_hosts` permits addresses and no clear text.
5. An address is judged by every address that it stands for: IPv4 inside IPv6 is unwrapped.
6. What cannot be read is refused.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from keyturn.errors import ConfigurationError, quoted

LONGEST_URL = 2048
"""Characters of a URL: well above the longest location in use, and what proxies and servers commonly take."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_BRACKETED = re.compile(r"(\[[^\]]*\])(?::(.*))?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,62})"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH_AND_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_OCTAL, _DECIMAL, _HEX = re.compile(r"0[0-7]*"), re.compile(r"[1-9][0-9]*"), re.compile(r"0x[0-9a-f]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HIGHEST_PORT = 65535
_LONGEST_NUMBER = 32
_BYTES_OF_IPV4 = 4
_BYTE = 256

_THIS_HOST = ipaddress.IPv4Network("0.0.0.0/8")
# Not all Python versions know that these addresses are not reachable from everywhere (RFC 6890, section 2.2.2).
_PROTOCOL_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")
# All that IANA has assigned as global unicast; what else ipaddress takes for global is unassigned, old or a translator's.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_AT_THE_END = ipaddress.IPv6Network("::/64")


class Reach(enum.Enum):
    """At which kind of address a document was reached, and so how far it may lead (R16)."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"


class _Parts(NamedTuple):
    """A URL taken apart; *host* as `_normal_host` writes it, *port* as text or None where none was named."""

    scheme: str
    userinfo: bool
    host: str
    port: str | None
    rest: str


def _parts(url: str) -> _Parts:
    match = _URL.fullmatch(url)
    if match is None:
        return _Parts("", userinfo=False, host="", port=None, rest="")
    scheme, authority, rest = match.groups()
    _, at, host_and_port = authority.rpartition("@")
    bracketed = _BRACKETED.fullmatch(host_and_port)
    if bracketed:
        host, port = bracketed.groups()
    else:
        host, colon, after = host_and_port.partition(":")
        port = after if colon else None
    return _Parts(scheme.lower(), bool(at), _normal_host(host), port, rest)


def _normal_host(host: str) -> str:
    """Return *host* in lower case, without brackets and final dot; an address in its usual form."""
    literal = literal_address(host)
    return str(literal) if literal else host.lower().removesuffix(".")


def _normal_hosts(hosts: Collection[str]) -> frozenset[str]:
    return frozenset(_normal_host(host) for host in hosts)


def host_of(url: str) -> str:
    """Return the host of *url* in lower case, without brackets and final dot; empty where there is none."""
    return _parts(url).host


def origin_of(url: str) -> str:
    """Return scheme, host and port of *url*, the port always written, so that two spellings of one origin are equal (RFC 6454)."""
    scheme, _, host, port, _ = _parts(url)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or _DEFAULT_PORTS.get(scheme, '')}"


def moved(url: str, origin: str) -> str:
    """Return *url* with *origin* in place of its own; path and query stay."""
    return origin + _parts(url).rest


def literal_address(host: str) -> Address | None:
    """Return the IP address that *host* denotes, or None where it is a name.

    Reads what resolvers read (inet_aton): ``2130706433``, ``0x7f000001``, ``0177.0.0.1`` and ``127.1`` are all 127.0.0.1.
    """
    text = host.lower().removesuffix(".")
    # A scope names an interface of one machine, which no document can mean.
    if ":" in text and "%" not in text:
        try:
            return ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]"))
        except ValueError:
            return None
    numbers = [_number(part) for part in text.split(".", maxsplit=_BYTES_OF_IPV4)]
    if None in numbers or len(numbers) > _BYTES_OF_IPV4:
        return None
    *front, last = [number for number in numbers if number is not None]
    # The last part fills all the bytes that the others leave.
    if any(number >= _BYTE for number in front) or last >= _BYTE ** (_BYTES_OF_IPV4 - len(front)):
        return None
    return ipaddress.IPv4Address(sum(number << 24 - 8 * place for place, number in enumerate(front)) + last)


def _number(text: str) -> int | None:
    # Leading zeros may lengthen a number, but long digits would cost time.
    if len(text) <= _LONGEST_NUMBER:
        for pattern, base in ((_OCTAL, 8), (_DECIMAL, 10), (_HEX, 16)):
            if pattern.fullmatch(text):
                return int(text, base)
    return None


def is_loopback_host(host: str) -> bool:
    """Return whether *host* is ``localhost`` or a literal address of the loopback network."""
    literal = literal_address(host)
    return _unmapped(literal).is_loopback if literal else _normal_host(host) == "localhost"


def reach_of(address: str) -> Reach:
    """Return how far a document may lead that was read at *address* (R16)."""
    try:
        read = _read(address)
    except ValueError:
        # The least that a document can be allowed.
        return Reach.PUBLIC
    if _unmapped(read).is_loopback:
        return Reach.LOOPBACK
    return Reach.PUBLIC if {_kind(meaning) for meaning in _meanings(read)} == {"public"} else Reach.PRIVATE


def address_refusal(address: str, reach: Reach) -> str | None:
    """Say why *address* may not be connected to for a URL that a document of *reach* named (R16); None if it may.

    Args:
        address: IP address as a socket tells it, an IPv6 one with or without its scope.
        reach: Where the document that named the URL was itself reached.
    """
    if reach is Reach.LOOPBACK:
        return None
    try:
        kinds = {_kind(meaning) for meaning in _meanings(_read(address))}
    except ValueError:
        return f"{quoted(address)} is not an IP address"
    refused = kinds - ({"public"} if reach is Reach.PUBLIC else {"public", "private"})
    if not refused:
        return None
    return (
        f"the address {quoted(address)} is {min(refused)}, and a document that was reached at a {reach.value} address "
        "may not lead there (setting: private_hosts)"
    )


def _read(address: str) -> Address:
    return ipaddress.ip_address(address.partition("%")[0])


def _unmapped(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def _meanings(address: Address) -> tuple[Address, ...]:
    """Return the addresses where a packet to *address* may arrive; those of a translator lead to the IPv4 address inside."""
    plain = _unmapped(address)
    if isinstance(plain, ipaddress.IPv4Address) or plain.is_loopback or plain.is_unspecified:
        return (plain,)
    inside = ipaddress.IPv4Address(int(plain) & 0xFFFFFFFF)
    if plain in _TRANSLATED:
        return (inside,)
    if plain in _IPV4_AT_THE_END:
        return (plain, inside)
    if plain.sixtofour:
        return (plain.sixtofour,)
    return (plain, *(plain.teredo or ()))


def _kind(address: Address) -> str:
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if isinstance(address, ipaddress.IPv6Address):
        public = address.is_global and address in _GLOBAL_UNICAST
        return "unspecified" if address.is_unspecified else "public" if public else "private"
    # On many systems 0.0.0.0 leads to the machine itself.
    public = address.is_global and address not in _PROTOCOL_ASSIGNMENTS
    return "unspecified" if address in _THIS_HOST else "public" if public else "private"


def url_refusal(url: object, *, http_allowed: bool) -> str | None:
    """Say what is wrong with the form of *url*, whoever named it; None if nothing is.

    Args:
        url: What stands where a URL is expected; may be anything.
        http_allowed: Whether clear text is allowed at this host.
    """
    if not isinstance(url, str):
        return f"expected a URL, got {quoted(url)}"
    if not url.strip():
        return "expected a URL, got nothing"
    if len(url) > LONGEST_URL:
        return f"expected at most {LONGEST_URL:,} characters, got {len(url):,}"
    if not all("!" <= character <= "~" for character in url):
        return "it holds a blank, a control character or a character outside ASCII"
    if "\\" in url:
        return "it holds a backslash"
    return next(_faults(_parts(url), http_allowed=http_allowed), None)


def _faults(parts: _Parts, *, http_allowed: bool) -> Iterator[str]:
    if parts.scheme not in _DEFAULT_PORTS:
        yield f"expected a URL that starts with https://, got {quoted(parts.scheme) if parts.scheme else 'none'} as its scheme"
    if parts.userinfo:
        yield 'it holds a user name or an "@" before its host'
    if not parts.host:
        yield "it names no host"
    if literal_address(parts.host) is None and not _is_name(parts.host):
        yield f"{quoted(parts.host)} is neither a host name nor an address"
    if parts.port is not None and not _is_port(parts.port):
        yield f"expected a port from 1 to 65535, got {quoted(parts.port)}"
    if "#" in parts.rest:
        yield "it has a fragment"
    if not _PATH_AND_QUERY.fullmatch(parts.rest):
        yield "its path or query holds a character that must be percent-encoded"
    if parts.scheme == "http" and not http_allowed:
        yield "expected https, got http (setting: http_hosts)"


def _is_name(host: str) -> bool:
    # No top-level domain is a number: such a host is an address that is misspelt or out of range.
    return bool(_NAME.fullmatch(host)) and not _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2])


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and 1 <= int(text) <= _HIGHEST_PORT


def configured_refusal(url: object, *, http_hosts: Collection[str] = ()) -> str | None:
    """Say why a location that the user configured cannot be used (R16); None if it can."""
    host = host_of(url) if isinstance(url, str) else ""
    return url_refusal(url, http_allowed=is_loopback_host(host) or host in _normal_hosts(http_hosts))


def check_configured(url: object, *, setting: str, http_hosts: Collection[str] = ()) -> None:
    """Check a location that the user configured: https, or http on loopback or at one of *http_hosts* (R16).

    Args:
        url: The location.
        setting: Name of the setting that holds it.
        http_hosts: Hosts at which clear text is allowed.

    Raises:
        ConfigurationError: The location cannot be used.
    """
    reason = configured_refusal(url, http_hosts=http_hosts)
    if reason:
        raise ConfigurationError(
            f"{quoted(url)} cannot be used as a location: {reason} (setting: {setting})",
            hint=f'Give a whole URL, such as {setting}="https://login.example.com/keys".',
        )


def check_issuer_url(issuer: object, *, http_hosts: Collection[str] = ()) -> None:
    """Check an issuer from which the discovery URL is derived (OpenID Connect Discovery, section 4; RFC 8414, section 2).

    Raises:
        ConfigurationError: It is no https URL, or has user name, query or fragment.
    """
    reason = configured_refusal(issuer, http_hosts=http_hosts)
    if reason is None and "?" in str(issuer):
        reason = "it has a query"
    if reason:
        raise ConfigurationError(
            f"no discovery document can be looked for at the issuer {quoted(issuer)}: {reason} (setting: issuer)",
            hint="An issuer that is a name and no place needs a location beside it: give discovery_url, jwks_url or metadata_url.",
        )


def named_refusal(url: object, reach: Reach, *, http_hosts: Collection[str] = (), private_hosts: Collection[str] = ()) -> str | None:
    """Say why a URL that a document named may not be followed, as far as its text tells (R16); None if it may.

    The address that its host resolves to is judged when it is connected to, by `address_refusal`.

    Args:
        url: What the document named; may be anything.
        reach: Where that document was itself reached.
        http_hosts: Hosts at which clear text is allowed.
        private_hosts: Hosts that may lie at any address.
    """
    host = host_of(url) if isinstance(url, str) else ""
    on_loopback = reach is Reach.LOOPBACK and is_loopback_host(host)
    reason = url_refusal(url, http_allowed=on_loopback or host in _normal_hosts(http_hosts))
    if reason or host in _normal_hosts(private_hosts):
        return reason
    literal = literal_address(host)
    if literal:
        return address_refusal(str(literal), reach)
    # Resolvers answer these names with the loopback address (RFC 6761, section 6.3).
    return address_refusal("127.0.0.1", reach) if host == "localhost" or host.endswith(".localhost") else None


def checked_hosts(hosts: Collection[str], setting: str) -> frozenset[str]:
    """Return the hosts of a setting in the form of `host_of`.

    Raises:
        ConfigurationError: It is one text and no collection, or holds something that is no host: a URL, a port, a pattern.
    """
    if isinstance(hosts, (str, bytes)) or not isinstance(hosts, Collection):
        raise ConfigurationError(f'expected a list of hosts, such as {setting}=["keys.internal"], got {quoted(hosts)} (setting: {setting})')
    for host in hosts:
        if not isinstance(host, str) or not (literal_address(host) or _is_name(_normal_host(host))):
            raise ConfigurationError(
                f"expected a host, got {quoted(host)} (setting: {setting})",
                hint=f'Give hosts alone, without scheme, port and path, such as {setting}=["keys.internal"].',
            )
    return _normal_hosts(hosts)


def checked_rewrite(rewrite: Mapping[str, str]) -> dict[str, str]:
    """Return a mapping of origins to origins in the form of `origin_of`.

    Raises:
        ConfigurationError: A key or value is no origin, or two keys are the same one.
    """
    if not isinstance(rewrite, Mapping):
        raise ConfigurationError(f"expected a mapping of origins, got {quoted(rewrite)} (setting: rewrite)")
    result: dict[str, str] = {}
    for named, reached in rewrite.items():
        for origin in (named, reached):
            if url_refusal(origin, http_allowed=True) or _parts(origin).rest not in ("", "/"):
                raise ConfigurationError(
                    f"expected an origin, got {quoted(origin)} (setting: rewrite)",
                    hint='Give scheme, host and port alone: rewrite={"https://auth.example.com": "http://keycloak:8080"}.',
                )
        if origin_of(named) in result:
            raise ConfigurationError(f"the origin {quoted(named)} is named twice (setting: rewrite)")
        result[origin_of(named)] = origin_of(reached)
    return result
