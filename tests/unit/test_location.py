"""URLs and addresses, judged without a socket (R16, F17, AD2-AD4, AD13)."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn._core.location import (
    LONGEST_URL,
    Reach,
    address_refusal,
    check_configured,
    check_issuer_url,
    checked_hosts,
    checked_rewrite,
    configured_refusal,
    host_of,
    is_loopback_host,
    literal_address,
    moved,
    named_refusal,
    origin_of,
    reach_of,
    url_refusal,
)
from keyturn.errors import ConfigurationError

ISSUER = "https://login.example.com"

# How far each address may be named: by documents reached at public, private and loopback addresses.
ADDRESSES = [
    ("93.184.216.34", {Reach.PUBLIC, Reach.PRIVATE}),
    ("2606:2800:220:1::1", {Reach.PUBLIC, Reach.PRIVATE}),
    ("::ffff:93.184.216.34", {Reach.PUBLIC, Reach.PRIVATE}),
    ("2002:5db8:d822::1", {Reach.PUBLIC, Reach.PRIVATE}),
    ("64:ff9b::5db8:d822", {Reach.PUBLIC, Reach.PRIVATE}),
    ("10.0.0.5", {Reach.PRIVATE}),
    ("172.16.0.1", {Reach.PRIVATE}),
    ("192.168.1.1", {Reach.PRIVATE}),
    ("100.64.0.1", {Reach.PRIVATE}),
    ("192.0.0.192", {Reach.PRIVATE}),
    ("198.18.0.1", {Reach.PRIVATE}),
    ("240.0.0.1", {Reach.PRIVATE}),
    ("fd00:ec2::254", {Reach.PRIVATE}),
    ("fec0::1", {Reach.PRIVATE}),
    ("4000::1", {Reach.PRIVATE}),
    ("64:ff9b:1::5db8:d822", {Reach.PRIVATE}),
    ("::5db8:d822", {Reach.PRIVATE}),
    ("::ffff:10.0.0.5", {Reach.PRIVATE}),
    ("2002:a00:5::1", {Reach.PRIVATE}),
    ("64:ff9b::a00:5", {Reach.PRIVATE}),
    ("2001:0:5db8:d822::a247:27dd", {Reach.PRIVATE}),
    ("127.0.0.1", set()),
    ("127.255.255.254", set()),
    ("::1", set()),
    ("::ffff:127.0.0.1", set()),
    ("::7f00:1", set()),
    ("::ffff:0:7f00:1", set()),
    ("2002:7f00:1::1", set()),
    ("64:ff9b::7f00:1", set()),
    ("2001:0:7f00:1::a247:27dd", set()),
    ("169.254.169.254", set()),
    ("::ffff:169.254.169.254", set()),
    ("64:ff9b::a9fe:a9fe", set()),
    ("fe80::1", set()),
    ("fe80::1%eth0", set()),
    ("224.0.0.1", set()),
    ("ff02::1", set()),
    ("ff0e::1", set()),
    ("0.0.0.0", set()),
    ("0.1.2.3", set()),
    ("::", set()),
    ("not an address", set()),
    ("", set()),
]


@pytest.mark.parametrize("reach", list(Reach))
@pytest.mark.parametrize(("address", "allowed"), ADDRESSES)
def test_who_may_lead_to_an_address(address: str, allowed: set[Reach], reach: Reach) -> None:
    """Public leads to public, private also to private, loopback anywhere; an address hidden in another counts as itself (F17, AD3)."""
    reason = address_refusal(address, reach)

    assert (reach in allowed or reach is Reach.LOOPBACK) == (reason is None)
    assert reason is None or "address" in reason.lower()


def test_the_reason_names_kind_and_setting() -> None:
    """An operator reads what is wrong with the address and which setting excepts it."""
    assert (
        'the address "10.0.0.5" is private, and a document that was reached at a public address may not lead there (setting: private_hosts)'
    ) == address_refusal("10.0.0.5", Reach.PUBLIC)


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("93.184.216.34", Reach.PUBLIC),
        ("2606:2800:220:1::1", Reach.PUBLIC),
        ("::ffff:93.184.216.34", Reach.PUBLIC),
        ("64:ff9b::5db8:d822", Reach.PUBLIC),
        ("10.0.0.5", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("::ffff:10.0.0.5", Reach.PRIVATE),
        ("fe80::1%eth0", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("127.0.0.1", Reach.LOOPBACK),
        ("127.8.0.1", Reach.LOOPBACK),
        ("::1", Reach.LOOPBACK),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        # These pass through a translator, so they are not this machine whatever stands inside.
        ("2002:7f00:1::1", Reach.PRIVATE),
        ("64:ff9b::7f00:1", Reach.PRIVATE),
        ("/run/socket", Reach.PUBLIC),
    ],
)
def test_reach_of_an_address(address: str, reach: Reach) -> None:
    """How far a document may lead follows from where it was reached; what cannot be read gives the least (F17)."""
    assert reach is reach_of(address)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (ISSUER, None),
        ("https://login.example.com:8443/a/b%20c?p=B2C_1_x&q=~!$'()*+,;=:@/?", None),
        ("HTTPS://LOGIN.EXAMPLE.COM./", None),
        ("https://my_service:443/keys", None),
        ("https://[2606:2800:220:1::1]:8443/keys", None),
        ("https://2130706433/", None),
        (None, "expected a URL, got null"),
        (b"https://login.example.com", "expected a URL, got bytes"),
        (["https://login.example.com"], "expected a URL, got"),
        ("", "got nothing"),
        ("  ", "got nothing"),
        ("https://login.example.com/" + LONGEST_URL * "a", "expected at most 2,048 characters, got 2,074"),
        ("https://login.example.com/ x", "a blank"),
        ("https://login.example.com/\r\nHost: x", "a control character"),
        ("https://login.example.com/\x00", "a control character"),
        ("https://login.exämple.com/", "outside ASCII"),
        ("https://login。example.com/", "outside ASCII"),
        ("https:\\\\login.example.com", "backslash"),
        ("https://login.example.com\\@evil.example", "backslash"),
        ("http://login.example.com/", "expected https, got http (setting: http_hosts)"),
        ("file:///etc/passwd", 'got "file" as its scheme'),
        ("ftp://login.example.com/", 'got "ftp" as its scheme'),
        ("data:application/json,{}", "got none as its scheme"),
        ("javascript:alert(1)", "got none as its scheme"),
        ("/keys", "got none as its scheme"),
        ("keys", "got none as its scheme"),
        ("//login.example.com/keys", "got none as its scheme"),
        ("https:/login.example.com", "got none as its scheme"),
        ("https://user@login.example.com/", "user name"),
        ("https://user:password@login.example.com/", "user name"),
        ("https://@login.example.com/", "user name"),
        ("https://login.example.com:443@evil.example/", "user name"),
        ("https://", "no host"),
        ("https:///keys", "no host"),
        ("https://:443/keys", "no host"),
        ("https://::1/keys", "no host"),
        ("https://.", "no host"),
        ("https://a..b/", "neither a host name"),
        ("https://-a.example/", "neither a host name"),
        ("https://a.example,b.example/", "neither a host name"),
        ("https://a%2eexample/", "neither a host name"),
        (f"https://{'a' * 64}.example/", "neither a host name"),
        (f"https://{'a.' * 127}example/", "neither a host name"),
        ("https://256.1.1.1/", "neither a host name"),
        ("https://127.0.0.08/", "neither a host name"),
        ("https://127.0.0.1.5/", "neither a host name"),
        ("https://0x/", "neither a host name"),
        ("https://[::1", "neither a host name"),
        ("https://[::1]x/", "neither a host name"),
        ("https://[127.0.0.1]/", "neither a host name"),
        ("https://[fe80::1%25eth0]/", "neither a host name"),
        ("https://[v1.x]/", "neither a host name"),
        ("https://login.example.com:/", "expected a port"),
        ("https://login.example.com:0/", "expected a port"),
        ("https://login.example.com:65536/", "expected a port"),
        ("https://login.example.com:80:80/", "expected a port"),
        ("https://login.example.com:x/", "expected a port"),
        ("https://[::1]:/", "expected a port"),
        ("https://login.example.com/#", "fragment"),
        ("https://login.example.com/keys#x", "fragment"),
        ("https://login.example.com#x", "fragment"),
        ("https://login.example.com/{tenantid}/keys", "percent-encoded"),
        ("https://login.example.com/%zz", "percent-encoded"),
        ('https://login.example.com/"', "percent-encoded"),
    ],
)
def test_form_of_a_url(url: object, expected: str | None) -> None:
    """One strict grammar for every URL, with the reason for what it refuses (AD2, AD4)."""
    reason = url_refusal(url, http_allowed=False)

    assert (expected is None) == (reason is None)
    assert reason is None or (expected is not None and expected in reason)


def test_clear_text_is_a_matter_of_permission() -> None:
    """Clear text passes where the caller allows it, and nothing else changes with that."""
    assert url_refusal("http://login.example.com/", http_allowed=True) is None
    assert url_refusal("ftp://login.example.com/", http_allowed=True) is not None


def test_length_at_its_limit() -> None:
    """A URL of 2,048 characters passes, one more does not (AD4)."""
    longest = "https://login.example.com/".ljust(LONGEST_URL, "a")

    assert [True, False] == [url_refusal(url, http_allowed=False) is None for url in (longest, longest + "a")]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.0.0.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("127.0.65535", "127.0.255.255"),
        ("0", "0.0.0.0"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("[0:0:0:0:0:ffff:7f00:1]", "::ffff:7f00:1"),
        ("4294967296", None),
        ("127.16777216", None),
        ("256.1", None),
        ("1.2.3.4.5", None),
        ("1.2.3.4.5.6.7.8", None),
        ("08", None),
        ("0x", None),
        ("1..2", None),
        ("", None),
        (33 * "1", None),
        ("fe80::1%eth0", None),
        ("1::2::3", None),
        ("localhost", None),
        ("login.example.com", None),
    ],
)
def test_addresses_in_odd_dress(host: str, address: str | None) -> None:
    """A host that resolvers read as an address is that address, however it is written (AD3)."""
    expected = None if address is None else (IPv6Address if ":" in address else IPv4Address)(address)

    assert expected == literal_address(host)


@pytest.mark.parametrize(
    ("url", "host", "origin"),
    [
        ("https://Login.Example.COM/keys", "login.example.com", "https://login.example.com:443"),
        ("HTTPS://login.example.com.:443", "login.example.com", "https://login.example.com:443"),
        ("http://keycloak:8080/realms/x?y", "keycloak", "http://keycloak:8080"),
        ("http://keycloak", "keycloak", "http://keycloak:80"),
        ("https://[2606:2800:220:1:0:0:0:1]:8443/", "2606:2800:220:1::1", "https://[2606:2800:220:1::1]:8443"),
        ("https://127.1/", "127.0.0.1", "https://127.0.0.1:443"),
        ("no url", "", "://:"),
    ],
)
def test_host_and_origin(url: str, host: str, origin: str) -> None:
    """Spellings of one place are told in one form."""
    assert (host, origin) == (host_of(url), origin_of(url))


def test_moving_keeps_path_and_query() -> None:
    """Only the origin is replaced (U22)."""
    assert "http://keycloak:8080/realms/x?y=z" == moved("https://auth.example.com/realms/x?y=z", "http://keycloak:8080")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LocalHost.", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("127.1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("keys.localhost", False),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("", False),
    ],
)
def test_loopback_by_name(host: str, expected: bool) -> None:
    """Clear text without a setting is for this machine alone: a name that may be resolved elsewhere is not it (R16)."""
    assert expected is is_loopback_host(host)


@pytest.mark.parametrize(
    ("url", "http_hosts", "usable"),
    [
        (ISSUER, (), True),
        ("https://10.0.0.5/keys?x=1", (), True),
        ("http://localhost:8080/keys", (), True),
        ("http://127.0.0.1/keys", (), True),
        ("http://[::1]:8080/keys", (), True),
        ("http://keycloak:8080/keys", (), False),
        ("http://keycloak:8080/keys", ("keycloak",), True),
        ("http://keycloak:8080/keys", ("KEYCLOAK.",), True),
        ("http://keycloak.evil.example/keys", ("keycloak",), False),
        ("http://10.0.0.5/keys", ("10.0.0.5",), True),
        ("", (), False),
        (7, (), False),
    ],
)
def test_configured_locations(url: object, http_hosts: tuple[str, ...], usable: bool) -> None:
    """The user may name any address: https, or clear text on loopback and for `http_hosts` (R16)."""
    assert usable is (configured_refusal(url, http_hosts=http_hosts) is None)
    if usable:
        check_configured(url, setting="jwks_url", http_hosts=http_hosts)
    else:
        with pytest.raises(ConfigurationError, match=re.escape("(setting: jwks_url)")):
            check_configured(url, setting="jwks_url", http_hosts=http_hosts)


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        ("", "nothing"),
        (" ", "nothing"),
        ("login.example.com", "got none as its scheme"),
        ("http://fs.example.com/adfs/services/trust", "expected https, got http"),
        ("urn:example:issuer", "got none as its scheme"),
        ("https://login.example.com?x=1", "it has a query"),
        ("https://login.example.com/?", "it has a query"),
        ("https://login.example.com/#x", "fragment"),
        ("https://user@login.example.com", "user name"),
        ("https://", "no host"),
    ],
)
def test_issuers_that_are_no_place(issuer: str, expected: str) -> None:
    """An issuer from which a location is derived must be one (AD13); the hint says what helps."""
    with pytest.raises(ConfigurationError, match=re.escape(expected)) as caught:
        check_issuer_url(issuer)

    assert "discovery_url, jwks_url or metadata_url" in caught.value.hint
    assert "(setting: issuer)" in caught.value.message


def test_issuers_that_are_a_place() -> None:
    """An https URL with or without a path, clear text on loopback or for `http_hosts` (AD13, R16)."""
    check_issuer_url(ISSUER)
    check_issuer_url("https://login.example.com/tenant/v2.0/")
    check_issuer_url("http://127.0.0.1:8080/realms/x")
    check_issuer_url("http://keycloak:8080/realms/x", http_hosts=["keycloak"])


@pytest.mark.parametrize(
    ("url", "reach", "expected"),
    [
        ("https://keys.example.org/keys", Reach.PUBLIC, None),
        ("https://93.184.216.34/keys", Reach.PUBLIC, None),
        ("https://10.0.0.5/keys", Reach.PUBLIC, "is private"),
        ("https://10.0.0.5/keys", Reach.PRIVATE, None),
        ("https://0xa000005/keys", Reach.PUBLIC, "is private"),
        ("https://127.1/keys", Reach.PRIVATE, "is loopback"),
        ("https://2852039166/keys", Reach.PRIVATE, "is link-local"),
        ("https://[::ffff:169.254.169.254]/keys", Reach.PRIVATE, "is link-local"),
        ("https://localhost/keys", Reach.PUBLIC, "is loopback"),
        ("https://LOCALHOST./keys", Reach.PRIVATE, "is loopback"),
        ("https://keys.localhost/keys", Reach.PUBLIC, "is loopback"),
        ("https://localhost/keys", Reach.LOOPBACK, None),
        ("https://10.0.0.5/keys", Reach.LOOPBACK, None),
        ("http://localhost:8080/keys", Reach.LOOPBACK, None),
        ("http://127.0.0.1:8080/keys", Reach.LOOPBACK, None),
        ("http://localhost:8080/keys", Reach.PRIVATE, "got http"),
        ("http://keys.example.org/keys", Reach.PUBLIC, "got http"),
        ("http://keys.example.org/keys", Reach.LOOPBACK, "got http"),
        ("http://clear.example/keys", Reach.PUBLIC, None),
        ("https://excepted.internal/keys", Reach.PUBLIC, None),
        ("http://excepted.internal/keys", Reach.PUBLIC, "got http"),
        ("https://10.9.9.9/keys", Reach.PUBLIC, None),
        ("http://10.1.1.1/keys", Reach.PUBLIC, "is private"),
        ("file:///keys", Reach.LOOPBACK, "scheme"),
        (None, Reach.LOOPBACK, "expected a URL"),
    ],
)
def test_named_urls(url: object, reach: Reach, expected: str | None) -> None:
    """A document leads no further than it was itself reached; `http_hosts` and `private_hosts` permit one thing each (F17, AD2-AD5)."""
    reason = named_refusal(
        url,
        reach,
        http_hosts=["clear.example", "10.1.1.1"],
        private_hosts=["excepted.internal", "10.9.9.9"],
    )

    assert (expected is None) == (reason is None)
    assert reason is None or (expected is not None and expected in reason)


def test_hosts_of_a_setting() -> None:
    """Hosts are kept in the form in which URLs are compared with them."""
    assert {"keycloak", "10.0.0.5", "::1"} == checked_hosts(["KeyCloak.", "10.0.0.5", "[::1]"], "http_hosts")


@pytest.mark.parametrize("hosts", ["keycloak", b"keycloak", 7, ["https://keycloak"], ["keycloak:8080"], ["*.example.com"], ["a/b"], [""], [None]])
def test_hosts_that_are_none(hosts: object) -> None:
    """One text instead of a list, a URL, a port or a pattern is refused at construction (F72)."""
    with pytest.raises(ConfigurationError, match=re.escape("(setting: private_hosts)")):
        checked_hosts(hosts, "private_hosts")  # type: ignore[arg-type]


def test_rewrite_of_a_setting() -> None:
    """Origins are kept in the form in which they are compared."""
    assert {"https://auth.example.com:443": "http://keycloak:8080"} == checked_rewrite({"https://AUTH.example.com/": "http://keycloak:8080"})


@pytest.mark.parametrize(
    "rewrite",
    [
        ["https://auth.example.com"],
        {"auth.example.com": "http://keycloak:8080"},
        {"https://auth.example.com": "keycloak:8080"},
        {"https://auth.example.com/realms": "http://keycloak:8080"},
        {"https://auth.example.com": "http://keycloak:8080/realms"},
        {"https://auth.example.com?x": "http://keycloak:8080"},
        {"https://auth.example.com": None},
        {"https://auth.example.com": "http://a", "https://AUTH.example.com:443": "http://b"},
    ],
)
def test_rewrites_that_are_none(rewrite: object) -> None:
    """Only whole origins map to whole origins, each once (F72)."""
    with pytest.raises(ConfigurationError, match=re.escape("(setting: rewrite)")):
        checked_rewrite(rewrite)  # type: ignore[arg-type]


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    """No text raises, and none that passes hides a user name, a fragment or a second reading of its host."""
    for url in (text, f"https://{text}", f"https://login.example.com/{text}"):
        host_of(url)
        origin_of(url)
        named_refusal(url, Reach.PUBLIC)
        if url_refusal(url, http_allowed=True) is None:
            assert not set(url) & set("\\# \t\r\n")
            assert "@" not in url.split("/")[2]


@given(st.ip_addresses())
def test_private_reach_contains_public_reach(address: IPv4Address | IPv6Address) -> None:
    """Whatever a public document may lead to, a private and a loopback one may too; and public is public of itself."""
    public, private, loopback = (address_refusal(str(address), reach) is None for reach in (Reach.PUBLIC, Reach.PRIVATE, Reach.LOOPBACK))

    assert public <= private <= loopback
    assert public is (reach_of(str(address)) is Reach.PUBLIC)
