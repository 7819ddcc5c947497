"""The settings of the default fetcher: judged at construction, without a socket (F72, F73)."""

from __future__ import annotations

import re
import ssl
from typing import Any

import pytest

from keyturn._core.location import Reach
from keyturn.errors import ConfigurationError
from keyturn.fetching import Fetcher, HttpxFetcher


def test_both_faces_are_fetchers() -> None:
    """What reads configured locations and what reads named ones keep one protocol."""
    assert isinstance(HttpxFetcher(), Fetcher)
    assert isinstance(HttpxFetcher().within(Reach.PUBLIC), Fetcher)


@pytest.mark.parametrize(
    ("url", "setting", "settings", "usable"),
    [
        ("https://auth.example.com", "issuer", {}, True),
        ("https://auth.example.com?x=1", "issuer", {}, False),
        ("https://auth.example.com/keys?x=1", "jwks_url", {}, True),
        ("http://auth.example.com", "issuer", {}, False),
        ("http://auth.example.com", "issuer", {"http_hosts": ["auth.example.com"]}, True),
        ("http://auth.example.com/keys", "jwks_url", {"rewrite": {"http://auth.example.com": "http://keycloak:8080"}}, True),
        ("http://auth.example.com/keys", "jwks_url", {"rewrite": {"https://auth.example.com": "http://keycloak:8080"}}, False),
        ("http://localhost:8080/keys", "discovery_url", {}, True),
        ("keys.json", "jwks_url", {}, False),
        (None, "jwks_url", {}, False),
    ],
)
def test_check_location(url: object, setting: str, settings: dict[str, Any], usable: bool) -> None:
    """A location that could never be read is refused at construction, with the settings of this fetcher (AD13, F73)."""
    fetcher = HttpxFetcher(**settings)
    if usable:
        fetcher.check_location(url, setting)
    else:
        with pytest.raises(ConfigurationError, match=re.escape(f"(setting: {setting})")):
            fetcher.check_location(url, setting)


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _any_host() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("client_factory", "httpx"),
        ("connect_timeout", 0),
        ("connect_timeout", float("nan")),
        ("ca", "missing.pem"),
        ("ca", True),
        ("ca", _unverified()),
        ("ca", _any_host()),
        ("proxy", "proxy.internal:3128"),
        ("proxy", "ftp://proxy.internal"),
        ("proxy", 7),
        ("headers", {"X": "a\r\nb"}),
        ("headers", {"X:": "a"}),
        ("headers", {"X": 1}),
        ("headers", {"X": "ä"}),
        ("http_hosts", "keycloak"),
        ("private_hosts", ["https://keycloak"]),
        ("rewrite", {"auth.example.com": "keycloak"}),
    ],
)
def test_settings_that_cannot_work(setting: str, value: Any) -> None:
    """A wrong setting is refused at construction, by name (F72)."""
    with pytest.raises(ConfigurationError, match=re.escape(f"(setting: {setting})")):
        HttpxFetcher(**{setting: value})


def test_secrets_of_settings_stay_out_of_messages() -> None:
    """The password of a proxy and the value of a header are not shown (I5)."""
    with pytest.raises(ConfigurationError) as proxy:
        HttpxFetcher(proxy="user:s3cret@proxy.internal")
    with pytest.raises(ConfigurationError) as headers:
        HttpxFetcher(headers={"Authorization": "s3cret\n"})

    assert "s3cret" not in proxy.value.message + headers.value.message
