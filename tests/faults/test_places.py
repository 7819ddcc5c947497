"""F16-F18: proxies, and documents or answers that lead elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.faults.harness import CASES, ONE_EACH, Case, nothing
from tests.faults.resolver import LOGIN, Resolver
from tests.faults.rig import ANY, DISCOVERY, JWKS, Action, Place, Rig, always, answer, tunnel
from tests.faults.rig_scene import RigScene, told_why

from keyturn import DiscoveryError, FetchError, FetchFailed, HttpxFetcher
from keyturn._core.location import Reach
from keyturn.fetching import FetchedDocument, Fetcher

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_cold_case = pytest.mark.parametrize("case", [case for case in CASES if not case.warm], ids=lambda case: case.name)
one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)

COLD = Case("trio", 1, warm=False)
KEYS = "keys.rig.test"
PUBLIC_ADDRESS, PRIVATE_ADDRESS = "93.184.215.14", "10.0.0.1"
DAY = 86_400


# F16


@contextmanager
def proxied(rig: Rig, case: Case, **settings: Any) -> Iterator[tuple[RigScene, Place]]:
    """Play with a proxy that leads every CONNECT to the issuer."""
    with rig.listen(plain=True) as proxy, RigScene(rig, case, **settings) as scene:
        proxy.serve({ANY: always(tunnel(scene.place))})
        yield scene, proxy


@every_case
def test_f16_proxy_of_the_environment(rig: Rig, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `trust_env` the proxy variables are followed, for the discovery document and the key set alike."""
    with proxied(rig, case, fetching={"trust_env": True}) as (scene, proxy):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        scene.works(nothing)
        seen = scene.place.counts()
        assert proxy.counts().requests == {f"127.0.0.1:{scene.place.port}": seen.connections}
        assert set(seen.requests) == {DISCOVERY, JWKS}


@one_each
@pytest.mark.parametrize(("trust_env", "no_proxy"), [(False, ""), (True, "127.0.0.1"), (True, "*")], ids=["trust_env", "NO_PROXY", "*"])
def test_f16_proxy_is_not_used(rig: Rig, case: Case, monkeypatch: pytest.MonkeyPatch, trust_env: bool, no_proxy: str) -> None:
    """Without `trust_env`, and for hosts of NO_PROXY, both documents are asked for directly."""
    with proxied(rig, case, fetching={"trust_env": trust_env}) as (scene, proxy):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        monkeypatch.setenv("NO_PROXY", no_proxy)
        scene.works(nothing)
        assert proxy.counts().connections == 0


# F17


class Reached:
    """The default fetcher, for an issuer at an address that no test can listen at: only what it tells of the address is made up."""

    def __init__(self, address: str, inner: HttpxFetcher) -> None:
        self._address = address
        self._inner = inner
        self.prepare, self.check_location = inner.prepare, inner.check_location

    def fetch(self, url: str, **limits: Any) -> FetchedDocument:
        """Read a configured location."""
        return replace(self._inner.fetch(url, **limits), address=self._address)

    def within(self, reach: Reach) -> Fetcher:
        """Return the real fetcher for what a document names."""
        return self._inner.within(reach)


@contextmanager
def public(rig: Rig, case: Case, address: str = PUBLIC_ADDRESS, **fetching: Any) -> Iterator[tuple[RigScene, Place]]:
    """Play with an issuer that is reached at a public address, beside a place on loopback that is none of its business."""
    fetcher = HttpxFetcher(ca=rig.ca_file, trust_env=False, **{"private_hosts": [LOGIN], **fetching})
    with rig.listen() as inside, RigScene(rig, case, host=LOGIN, fetcher=Reached(address, fetcher)) as scene:
        yield scene, inside


def naming(url: str) -> Callable[[bytes], list[Action]]:
    """Return what makes a discovery document name *url* as the place of the keys."""
    return lambda body: answer(json.dumps({**json.loads(body), "jwks_uri": url}).encode())


@every_cold_case
def test_f17_name_that_leads_inside(rig: Rig, resolver: Resolver, case: Case) -> None:
    """The address that was connected to is judged before a request or a handshake is sent to it."""
    with public(rig, case) as (scene, inside):
        inside.publish(scene.issuer)
        outcomes = scene.fails(scene.spoiling(naming(inside.url(JWKS, KEYS)), on=(DISCOVERY,)), DiscoveryError)
        assert 'the address "127.0.0.1" is loopback' in told_why(outcomes)
        assert "(setting: private_hosts)" in told_why(outcomes)
        assert (inside.counts().connections, inside.requests()) == (1, 0)


def test_f17_name_that_leads_inside_later(rig: Rig, resolver: Resolver) -> None:
    """The same name was good when the keys were read first: the next scheduled refresh is refused, and the set stays."""
    with public(rig, Case("thread", 1, warm=True)) as (scene, inside):
        held = scene.token(lifetime=10 * DAY)
        scene.warm()
        with scene.spoiling(naming(inside.url(JWKS, KEYS)), on=(DISCOVERY,))():
            scene.clock.advance(DAY)
            scene.accepts(held)
            assert [event.code for event in scene.told(FetchFailed)] == ["discovery_failed"]
            assert inside.requests() == 0
            scene.accepts(held)


HOSTS_INSIDE = [
    "127.0.0.1",
    "localhost",
    "2130706433",
    "0x7f.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "169.254.169.254",
    "[fe80::1]",
    "10.0.0.5",
    "0.0.0.0",
]


@pytest.mark.parametrize("host", HOSTS_INSIDE)
def test_f17_literal_address(rig: Rig, resolver: Resolver, host: str) -> None:
    """What the URL says already is refused without a connection."""
    with public(rig, COLD) as (scene, inside):
        outcomes = scene.fails(scene.spoiling(naming(inside.url(JWKS, host)), on=(DISCOVERY,)), DiscoveryError)
        assert "(setting: private_hosts)" in told_why(outcomes)
        assert inside.counts().connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", KEYS])
def test_f17_private_issuer(rig: Rig, resolver: Resolver, host: str) -> None:
    """An issuer at a private address may lead to neither loopback nor link-local."""
    with public(rig, COLD, PRIVATE_ADDRESS) as (scene, inside):
        scene.fails(scene.spoiling(naming(inside.url(JWKS, host)), on=(DISCOVERY,)), DiscoveryError)
        assert inside.requests() == 0


@one_each
def test_f17_issuer_on_loopback(rig: Rig, resolver: Resolver, case: Case) -> None:
    """An issuer that was itself reached on loopback may name a place there."""
    with rig.listen() as other, RigScene(rig, case, host=LOGIN) as scene:
        scene.place.publish(scene.issuer, odd={DISCOVERY: naming(other.url(JWKS, "localhost"))})
        other.publish(scene.issuer)
        scene.accepts(scene.token())
        assert (scene.asked(JWKS), other.requests()) == (0, 1)


@pytest.mark.parametrize(("scheme", "allowed"), [("https", True), ("http", False)])
def test_f17_private_hosts_permits_addresses_alone(rig: Rig, resolver: Resolver, scheme: str, allowed: bool) -> None:
    """`private_hosts` permits an address, never clear text."""
    with public(rig, COLD, private_hosts=[LOGIN, KEYS]) as (scene, inside):
        inside.publish(scene.issuer)
        with scene.spoiling(naming(inside.url(JWKS, KEYS).replace("https", scheme)), on=(DISCOVERY,))():
            if allowed:
                scene.accepts(scene.token())
            else:
                scene.refuses(DiscoveryError, scene.token())
        assert inside.requests() == int(allowed)


@pytest.mark.parametrize(
    ("issuer", "keys", "allowed"),
    [
        (LOGIN, KEYS, True),
        (LOGIN, "10.0.0.5", False),
        (LOGIN, "127.0.0.1", False),
        (LOGIN, "localhost", False),
        (LOGIN, "169.254.169.254", False),
        (PRIVATE_ADDRESS, "10.0.0.5", True),
        (PRIVATE_ADDRESS, "127.0.0.1", False),
        (PRIVATE_ADDRESS, "localhost", False),
        (PRIVATE_ADDRESS, "169.254.169.254", False),
    ],
)
def test_f17_through_a_proxy(rig: Rig, issuer: str, keys: str, allowed: bool) -> None:
    """A proxy resolves, so a name passes; literal addresses and `localhost` are judged, and the proxy is not asked for them."""
    with rig.listen(plain=True) as proxy, RigScene(rig, COLD, host=issuer, fetching={"proxy": proxy.url()}) as scene:
        proxy.serve({ANY: always(tunnel(scene.place))})
        scene.place.publish(scene.issuer, odd={DISCOVERY: naming(scene.place.url(JWKS, keys))})
        if allowed:
            scene.accepts(scene.token())
        else:
            scene.refuses(DiscoveryError, scene.token())
        asked = [f"{host}:{scene.place.port}" for host in ([issuer, keys] if allowed else [issuer])]
        assert proxy.counts().requests == dict.fromkeys(asked, 1)


# F18


@every_case
def test_f18_redirect_to_another_host(rig: Rig, case: Case) -> None:
    """It is not followed: the message shows where it pointed and what to set, and nobody is asked there."""
    with rig.listen() as other, RigScene(rig, case) as scene:
        target = other.url(JWKS)
        outcomes = scene.fails(scene.spoiling(lambda body: answer(body, f"Location: {target}", status="302 Found")), FetchError)
        assert f'answered 302 and points to "{target}"; redirects are never followed' in told_why(outcomes)
        assert "discovery_url, jwks_url" in told_why(outcomes)
        assert (scene.met.connections, other.counts().connections) == (1, 0)


@one_each
@pytest.mark.parametrize("status", ["301 Moved Permanently", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_f18_other_kinds_of_redirect(rig: Rig, case: Case, status: str) -> None:
    """So with every other status that redirects."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.spoiling(lambda body: answer(body, "Location: /moved.json", status=status)), FetchError)
        assert f'answered {status[:3]} and points to "/moved.json"' in told_why(outcomes)
        assert "/moved.json" not in scene.met.requests


@one_each
@pytest.mark.parametrize("target", [JWKS, "//169.254.169.254/keys", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "http://["])
def test_f18_other_targets(rig: Rig, case: Case, target: str) -> None:
    """So with a loop, another scheme, an address of cloud metadata, and what is no URL at all."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.answering(*answer(b"", f"Location: {target}", status="302 Found")), FetchError)
        assert f'points to "{target}"' in told_why(outcomes)
        assert scene.met.connections == 1
