"""What nobody knows fails closed, and what is set wrong is told where it is set (F72, F73).

Rules of this file:

1. Words are made up by Hypothesis: any that is not known must widen nothing, wherever it stands.
2. Nothing is fetched at construction; an audit hook of the interpreter watches over that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import (
    ConfigurationError,
    DisallowedAlgorithmError,
    FileStore,
    HttpxFetcher,
    InvalidTokenError,
    IssuerRouter,
    KeySetClient,
    MalformedTokenError,
    MemoryStore,
    Revocation,
    RolloverPolicy,
    StaticKeySet,
    TokenTypeError,
    TokenValidator,
)
from keyturn._core.revocation import merged
from keyturn._core.signatures import ALGORITHMS
from keyturn.testing import FakeClock, FakeIssuer

ISSUER, AUDIENCE = "https://login.example.com", "api://test"
KINDS = ("access", "at+jwt", "id")


@cache
def fake() -> FakeIssuer:
    """Return the issuer whose tokens are bent."""
    return FakeIssuer(clock=FakeClock())


def fixed(jwks: Any = None, **settings: Any) -> TokenValidator:
    """Return a validator over fixed keys: what is no question of rollover."""
    settings = {"audience": AUDIENCE, "issuer": fake().issuer, "clock": fake().clock, **settings}
    return TokenValidator(StaticKeySet.from_jwks(jwks or fake().jwks()), **settings)


def words(*known: str) -> st.SearchStrategy[str]:
    """Return words that are none of *known*, some of which come close."""
    close = [form for word in known for form in (word.upper(), word.lower(), word + " ", " " + word, word + "\0", word[:-1], word + word)]
    return (st.sampled_from(close) | st.text(max_size=20)).filter(lambda word: word not in known)


OPTIONS: dict[str, Callable[..., object]] = {
    "client": partial(KeySetClient, ISSUER),
    "validator": partial(TokenValidator, ISSUER, audience=AUDIENCE),
    "router": IssuerRouter,
    "policy": RolloverPolicy,
    "fetcher": HttpxFetcher,
    "memory store": MemoryStore,
    "file store": partial(FileStore, "store"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_f72_unknown_option(name: str) -> None:
    """A misspelt option is an error of the call, never an option that does nothing."""
    with pytest.raises(TypeError, match="verify_signature"):
        OPTIONS[name](verify_signature=False)


@given(word=words(*ALGORITHMS))
def test_f72_unknown_algorithm_in_the_settings(word: str) -> None:
    """Alone, or beside one that is known."""
    for algorithms in ([word], ["ES256", word]):
        with pytest.raises(ConfigurationError, match="setting: algorithms"):
            fixed(algorithms=algorithms)


@given(word=words(*KINDS))
def test_f72_unknown_kind_of_token_in_the_settings(word: str) -> None:
    """A kind that is not known checks nothing, so it is none."""
    with pytest.raises(ConfigurationError, match="setting: token_type"):
        fixed(token_type=word)


@given(word=words(*ALGORITHMS))
def test_f72_unknown_algorithm_in_a_token(word: str) -> None:
    """No default takes its place."""
    with pytest.raises((DisallowedAlgorithmError, MalformedTokenError)):
        fixed().validate(fake().token(headers={"alg": word}))


@given(word=words("JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/jwt").filter(lambda word: "jwt" not in word.lower()))
def test_f72_unknown_type_in_a_token(word: str) -> None:
    """A token that says that it is something else is not an access token, whatever else it says."""
    with pytest.raises((TokenTypeError, MalformedTokenError)):
        fixed().validate(fake().token(headers={"typ": word}))


@given(word=st.text(max_size=20))
def test_f72_unknown_extension_in_a_token(word: str) -> None:
    """An extension that the sender calls critical is not understood, so the token is refused (RFC 7515, section 4.1.11)."""
    with pytest.raises(InvalidTokenError):
        fixed().validate(fake().token(headers={"crit": [word], word: 1}))


@pytest.mark.parametrize("member", ["kty", "crv", "alg", "use", "key_ops"])
@given(data=st.data())
def test_f72_unknown_value_in_a_key(member: str, data: st.DataObject) -> None:
    """The entry is not used for what it does not say; the good one beside it is."""
    known = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "key_ops": "verify"}[member]
    word = data.draw(words(known))
    (entry,) = fake().jwks()["keys"]
    bent = {**entry, member: [word] if member == "key_ops" else word}
    (other,) = FakeIssuer(kid="other").jwks()["keys"]
    with pytest.raises(InvalidTokenError):
        fixed({"keys": [bent, other]}).validate(fake().token())
    assert fixed({"keys": [bent, {**entry, "kid": "good"}]}).validate(fake().token(headers={"kid": "good"})).subject == "alice"


@given(word=words("reinstated"))
def test_f72_unknown_state_of_a_revocation(word: str) -> None:
    """What is not reinstated is revoked, and beats a reinstatement of the same sequence."""
    odd, known = Revocation("thumbprint", "a", 1, word), Revocation("thumbprint", "a", 1, "reinstated")  # type: ignore[arg-type]
    for entries in ([odd, known], [known, odd]):
        (entry,) = merged({}, entries).values()
        assert entry is odd


WRONG: dict[str, Callable[[], object]] = {
    **{f"issuer {value!r}": partial(KeySetClient, value) for value in ("", None, 5, "login.example.com", "http://login.example.com")},
    **{f"source {value!r}": partial(TokenValidator, value, audience=AUDIENCE) for value in ("", None, 5)},
    **{f"audience {value!r}": partial(TokenValidator, ISSUER, audience=value) for value in ("", None, [], [""], (), {}, 5)},
    **{f"expected issuer {value!r}": partial(fixed, issuer=value) for value in ("", None, [], [""], 5)},
    **{f"algorithms {value!r}": partial(fixed, algorithms=value) for value in ("", None, [], ["none"], ["HS256"])},
    "two locations": partial(KeySetClient, ISSUER, discovery_url=f"{ISSUER}/a", jwks_url=f"{ISSUER}/b"),
    "allowance beyond its longest": partial(RolloverPolicy, on_demand_interval=300.0, on_demand_interval_max=299.0),
    "pause beyond its longest": partial(RolloverPolicy, retry_min=301.0),
    "no deadline": partial(RolloverPolicy, deadline=0.0),
    "nothing between requests": partial(RolloverPolicy, on_demand_interval=0.0),
    "no number": partial(RolloverPolicy, max_stale=float("nan")),
    "endless trust": partial(RolloverPolicy, removed_key_grace=float("inf")),
    "two policies": lambda: TokenValidator(KeySetClient(ISSUER), audience=AUDIENCE, policy=RolloverPolicy()),
    "two validators with one route": lambda: IssuerRouter(TokenValidator(ISSUER, audience="a"), TokenValidator(ISSUER, audience="b")),
    "no validator": IssuerRouter,
}


@pytest.mark.parametrize("name", WRONG)
def test_f73_wrong_setting(name: str) -> None:
    """It is told at construction, with the setting to change."""
    with pytest.raises(ConfigurationError, match="settings?: |expected"):
        WRONG[name]()


@pytest.mark.parametrize("build", [KeySetClient, partial(TokenValidator, ISSUER), partial(TokenValidator, audience=AUDIENCE)])
def test_f73_omitted_setting(build: Callable[[], object]) -> None:
    """What must be given has no default."""
    with pytest.raises(TypeError, match="missing"):
        build()


WATCHED = """
import json, sys
from keyturn import FileStore, HttpxFetcher, IssuerRouter, KeySetClient, MemoryStore, RolloverPolicy, TokenValidator

import socket, subprocess, threading  # What they open while they are imported is not what is looked for.

seen = []
kinds = ("open", "socket.", "subprocess.", "os.", "_thread.", "ctypes.", "import")
sys.addaudithook(lambda name, args: seen.append(f"{name} {args}") if name.startswith(kinds) else None)
clients = [KeySetClient("https://login.example.com"), KeySetClient("https://a.example.com", jwks_url="https://a.example.com/keys")]
validators = [TokenValidator(client, audience="api://test") for client in clients]
validators.append(TokenValidator("https://b.example.com", audience="api://test", store=MemoryStore(), policy=RolloverPolicy.strict()))
IssuerRouter(*validators)
seen, told = [], seen
open(sys.argv[1]).close()
print(json.dumps([told, len(seen)]))
"""


def test_f73_construction_does_no_io() -> None:
    """Clients, validators and a router are built: no file, socket, thread or process; the hook sees the file that is opened after it."""
    source = str(Path(sys.modules["keyturn"].__file__ or "").parents[1])
    command = [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {source!r})\n{WATCHED}", __file__]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == [[], 1]
