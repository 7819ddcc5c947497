"""The pytest plugin: a clock, an issuer, a client of it and a validator as fixtures, wired to each other.

Rules of this file:

1. Loading it loads pytest, which is there already, and nothing else of weight: fixtures import what they need when a test asks for
   them. It stands outside of `keyturn.testing` because that package loads all of itself.
2. It acts where it is asked to: no fixture is automatic, nothing global is patched, and logging stays as it is.
3. Fixtures ask for each other by name, so that a suite can put one of its own in the place of any of them.
4. What a marker says is checked before the test is set up, and an unknown setting fails the test.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from keyturn.client import KeySetClient
    from keyturn.testing.clock import FakeClock
    from keyturn.testing.issuer import FakeIssuer
    from keyturn.validator import TokenValidator

MARKER = "keyturn"
"""Name of the marker."""

ISSUER_SETTINGS = ("issuer", "audience", "algorithm", "kid", "rsa_bits")
"""Settings of the marker that go to `FakeIssuer`."""

CLIENT_SETTINGS = ("policy",)
"""Settings of the marker that go to `KeySetClient`."""

VALIDATOR_SETTINGS = ("algorithms", "leeway", "token_type", "required_claims", "max_token_bytes", "token_cache_size", "dialect")
"""Settings of the marker that go to `TokenValidator`."""

SETTINGS = ISSUER_SETTINGS + CLIENT_SETTINGS + VALIDATOR_SETTINGS
"""Every setting of the marker."""

_WORD = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.IGNORECASE)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, so that strict markers accept it and `pytest --markers` explains it."""
    listed = ", ".join(f"{name}=..." for name in SETTINGS)
    config.addinivalue_line("markers", f"{MARKER}({listed}): settings of the fixtures fake_issuer, key_set_client and token_validator.")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test whose marker says what nothing here understands, whether or not it uses a fixture of ours (4)."""
    for mark in _marks(item):
        unknown = sorted(set(mark.kwargs) - set(SETTINGS))
        if mark.args or unknown:
            from keyturn.errors import quoted  # noqa: PLC0415 - only a message needs it (1)

            got = f"unknown {', '.join(map(quoted, unknown))}" if unknown else "a positional argument"
            pytest.fail(f"marker {MARKER} got {got}, expected settings by name: {', '.join(SETTINGS)}", pytrace=False)


@pytest.fixture
def fake_clock() -> FakeClock:
    """The one clock of issuers, client and validator; only the test moves it."""
    from keyturn.testing.clock import FakeClock  # noqa: PLC0415 - when a test asks for it (1)

    return FakeClock()


@pytest.fixture
def make_fake_issuer(request: pytest.FixtureRequest, fake_clock: FakeClock) -> Callable[..., FakeIssuer]:
    """Make further issuers on the same clock: `make_fake_issuer("billing", algorithm="RS256")`.

    The name is a URL, or a word that stands for `https://issuer.test/<word>`; without one they are called `https://issuer.test/2` and
    so on. Each has a path of its own, so that one server can serve them all. Other settings are those of `FakeIssuer`; those that are
    not given come from the marker, so that issuers share audience and kid.
    """
    from keyturn.testing.issuer import DEFAULT_ISSUER, FakeIssuer  # noqa: PLC0415 - when a test asks for it (1)

    defaults = _settings(request, set(ISSUER_SETTINGS) - {"issuer"})
    numbers = itertools.count(2)

    def make(name: str | None = None, **settings: Any) -> FakeIssuer:
        __tracebackhide__ = True
        if name is None:
            name = str(next(numbers))
        url = f"{DEFAULT_ISSUER}/{name}" if _WORD.fullmatch(name) else name
        return FakeIssuer(url, **{"clock": fake_clock, **defaults, **settings})

    return make


@pytest.fixture
def fake_issuer(request: pytest.FixtureRequest, fake_clock: FakeClock) -> FakeIssuer:
    """An issuer of tokens with one key, `k1`, on `fake_clock`; it needs no socket, and the test rolls its keys over."""
    __tracebackhide__ = True
    from keyturn.testing.issuer import FakeIssuer  # noqa: PLC0415 - when a test asks for it (1)

    return FakeIssuer(clock=fake_clock, **_settings(request, ISSUER_SETTINGS))


@pytest.fixture
def key_set_client(request: pytest.FixtureRequest, fake_issuer: FakeIssuer, fake_clock: FakeClock) -> Iterator[KeySetClient]:
    """The client that keeps the keys of `fake_issuer`, on `fake_clock`; it has fetched nothing yet.

    When the test is over, refreshes that it left under way are waited for, so that what they tell is not told during another test.
    """
    __tracebackhide__ = True
    from keyturn.client import KeySetClient  # noqa: PLC0415 - when a test asks for it (1)
    from keyturn.testing.settling import settle  # noqa: PLC0415 - when a test asks for it (1)

    settings = _settings(request, CLIENT_SETTINGS)
    client = KeySetClient(fake_issuer.issuer, fetcher=fake_issuer.fetcher(), clock=fake_clock, **settings)
    yield client
    # One that is stuck is left behind; the test has had its verdict.
    with suppress(TimeoutError):
        settle(client, client.policy.deadline)


@pytest.fixture
def token_validator(request: pytest.FixtureRequest, key_set_client: KeySetClient, fake_issuer: FakeIssuer) -> TokenValidator:
    """A validator of `fake_issuer`'s tokens for its audience, with the keys of `key_set_client` and on the same clock."""
    __tracebackhide__ = True
    from keyturn.validator import TokenValidator  # noqa: PLC0415 - when a test asks for it (1)

    return TokenValidator(key_set_client, audience=fake_issuer.audience, **_settings(request, VALIDATOR_SETTINGS))


def _marks(item: pytest.Item) -> Iterator[pytest.Mark]:
    """Yield the marks of *item*, the farthest place first: package, module, class, function.

    At one place the mark that was applied last comes last, as does that of a derived class, and of a parameter after its function's.
    pytest's own order is the other way round, but for those two.
    """
    for node in item.listchain():
        yield from (mark for mark in node.own_markers if mark.name == MARKER)


def _settings(request: pytest.FixtureRequest, names: Iterable[str]) -> dict[str, Any]:
    """Return what the test's marks say about *names*; the nearest mark wins, each setting by itself."""
    merged: dict[str, Any] = {}
    for mark in _marks(request.node):
        merged |= mark.kwargs
    return {name: merged[name] for name in names if name in merged}
