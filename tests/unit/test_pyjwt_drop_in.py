"""The drop-in for `PyJWKClient`: the calls and the errors of PyJWT, and the rules of rollover."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest
from jwt.exceptions import PyJWKClientConnectionError

from keyturn import ConfigurationError, KeySetClient, KeyturnError, StaticKeySet
from keyturn.integrations import pyjwt as drop_in
from keyturn.integrations.pyjwt import PYJWT_ALGORITHMS, JWKClient
from keyturn.testing import FakeClock, FakeIssuer

AUDIENCE = "api://orders"
# PyJWT has a clock of its own, which no test can move.
OPTIONS: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


class World:
    """An issuer, and the drop-in over its keys, on one clock."""

    def __init__(self, algorithm: str = "ES256", **members: Any) -> None:
        self.clock = FakeClock()
        self.issuer = FakeIssuer("https://login.example.com", clock=self.clock, audience=AUDIENCE, algorithm=algorithm)
        self.issuer.cut_over("k1a", **members)
        self.source = KeySetClient(self.issuer.issuer, fetcher=self.issuer.fetcher(), clock=self.clock)
        self.client = JWKClient(self.source)

    def decode(self, token: str) -> dict[str, Any]:
        """Do what the documentation of PyJWT does with a `PyJWKClient`."""
        key = self.client.get_signing_key_from_jwt(token)
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=list(PYJWT_ALGORITHMS), audience=AUDIENCE, options=OPTIONS)
        return claims


@pytest.fixture
def world() -> World:
    """Return one with an ES256 key."""
    return World()


@pytest.mark.parametrize("alg", [{}, {"alg": None}], ids=["with alg", "without alg"])
@pytest.mark.parametrize("algorithm", PYJWT_ALGORITHMS)
def test_every_algorithm_verifies(algorithm: str, alg: dict[str, None]) -> None:
    """A key that names no algorithm is bound to the one of the token's header, not to RS256 as PyJWT would."""
    world = World(algorithm, **alg)
    assert "alice" == world.decode(world.issuer.token())["sub"]


def test_the_key_serves_without_its_object(world: World) -> None:
    """Code that hands `.key` to PyJWT, as was usual for years, goes on working."""
    token = world.issuer.token()
    key = world.client.get_signing_key_from_jwt(token.encode())
    assert ("k1a", "EC", "sig") == (key.key_id, key.key_type, key.public_key_use)
    assert "alice" == jwt.decode(token, key.key, algorithms=["ES256"], audience=AUDIENCE, options=OPTIONS)["sub"]


def test_a_rollover_costs_one_look(world: World) -> None:
    """The first token of a new key finds it, a second after the last fetch, and a vanished key serves out its grace (R4, R10)."""
    old = world.issuer.token()
    world.decode(old)
    world.clock.advance(1)
    world.issuer.cut_over("k2")
    world.issuer.fetches.clear()
    world.decode(world.issuer.token())
    world.decode(old)
    world.issuer.fetches.expect(jwks=1)


def test_new_material_under_an_old_kid(world: World) -> None:
    """A signature that the held key does not verify is a reason to look, so that a replaced key is found at once (R12)."""
    world.decode(world.issuer.token())
    world.issuer.replace_material("k1a")
    world.issuer.fetches.clear()
    assert "alice" == world.decode(world.issuer.token())["sub"]
    world.issuer.fetches.expect(jwks=1)


@pytest.mark.parametrize(
    ("named", "passes"),
    [
        ("https://login.example.com", True),
        ("https://other.example.com", False),
        ("https://login.example.com/{tenantid}/v2.0", True),
        ("https://other.example.com/{tenantid}/v2.0", False),
    ],
)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_key_serves_the_issuer_that_its_entry_names(named: str, passes: bool, way: str) -> None:
    """A document of several issuers' keys, as Entra's, lets no key vouch for another issuer, although PyJWT never looks at its entry."""
    world, tenant = World(issuer=named), "72f988bf-86f1-41af-91ab-2d7cd011db47"
    client = JWKClient(StaticKeySet.from_jwks(world.issuer.jwks()))
    filled = {"iss": f"https://login.example.com/{tenant}/v2.0", "tid": tenant} if "{" in named else {}
    token = world.issuer.token(**filled)

    def find() -> jwt.PyJWK:
        return client.get_signing_key_from_jwt(token) if way == "sync" else asyncio.run(client.get_signing_key_from_jwt_async(token))

    if passes:
        assert "k1a" == find().key_id
        return
    with pytest.raises(jwt.InvalidSignatureError) as caught:
        find()
    assert (401, "invalid_signature") == (caught.value.http_status, caught.value.code)


def test_tokens_without_a_kid() -> None:
    """Where the header names no key the one that verifies is found, wherever it stands (R2)."""
    world = World(kid=None)
    world.issuer.publish("k2", kid=None)
    for seed in range(3):
        world.issuer.shuffle(seed)
        world.source.refresh()
        assert "alice" == world.decode(world.issuer.token(headers={"kid": None}))["sub"]


def test_junk_cannot_make_it_hammer(world: World) -> None:
    """Whatever kids are made up, the issuer is asked once (R5); PyJWT would ask every 30 seconds."""
    world.decode(world.issuer.token())
    world.issuer.fetches.clear()
    for number in range(20):
        with pytest.raises(drop_in.UnknownSigningKeyError):
            world.client.get_signing_key_from_jwt(world.issuer.forge(key=f"made-up-{number}"))
        with pytest.raises(drop_in.UnknownSigningKeyError):
            world.client.get_signing_key(f"other-{number}")
        world.clock.advance(1)
    world.issuer.fetches.expect(jwks=1)


def test_an_outage_is_no_bad_token(world: World) -> None:
    """Held keys serve on for longer than PyJWT's five minutes; what is not held is a connection error, as in PyJWT, and a 503 (R9)."""
    world.decode(world.issuer.token())
    world.clock.advance(hours=20)
    with world.issuer.down(document="both", retry_after=20):
        world.decode(world.issuer.token())
        with pytest.raises(PyJWKClientConnectionError) as caught:
            world.client.get_signing_key_from_jwt(world.issuer.forge(key="k9"))
    assert isinstance(caught.value, drop_in.SigningKeysUnavailableError)
    assert (503, 20) == (caught.value.http_status, caught.value.retry_after)
    assert isinstance(caught.value.__cause__, KeyturnError)


def bad(world: World, name: str) -> str:
    """Return a bad token of this name."""
    if name == "revoked":
        world.decode(world.issuer.token())
        world.source.revoke(kid="k1a")
    tokens = {
        "unknown": lambda: world.issuer.forge(key="k9"),
        "revoked": world.issuer.token,
        "forged": world.issuer.forge,
        "malformed": lambda: "made.up.token",
        "not ASCII": lambda: "é.b.c",
        "none": lambda: world.issuer.token(headers={"alg": "none"}),
        "RFC 9864": lambda: world.issuer.token(headers={"alg": "Ed25519"}),
    }
    return tokens[name]()


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("unknown", drop_in.UnknownSigningKeyError, jwt.PyJWKClientError),
        ("revoked", drop_in.RevokedSigningKeyError, jwt.PyJWKClientError),
        ("forged", drop_in.WrongSignatureError, jwt.InvalidSignatureError),
        ("malformed", drop_in.UnreadableTokenError, jwt.DecodeError),
        ("not ASCII", drop_in.UnreadableTokenError, jwt.DecodeError),
        ("none", drop_in.RefusedAlgorithmError, jwt.InvalidAlgorithmError),
        ("RFC 9864", drop_in.RefusedAlgorithmError, jwt.InvalidAlgorithmError),
    ],
)
@pytest.mark.parametrize("way", ["text", "bytes", "async"])
def test_errors_are_of_both_worlds(world: World, name: str, ours: type[KeyturnError], theirs: type[Exception], way: str) -> None:
    """Handlers written for PyJWT catch what keyturn raises, and it says the same as from a validator."""
    token = bad(world, name)
    ways = {
        "text": lambda: world.client.get_signing_key_from_jwt(token),
        "bytes": lambda: world.client.get_signing_key_from_jwt(token.encode()),
        "async": lambda: asyncio.run(world.client.get_signing_key_from_jwt_async(token)),
    }
    with pytest.raises(theirs) as caught:
        ways[way]()
    assert ours is type(caught.value)
    assert (401, ours.code) == (caught.value.http_status, caught.value.code)
    assert isinstance(caught.value, jwt.PyJWTError)


def test_async_tokens_find_their_key(world: World) -> None:
    """The call that PyJWT lacks finds the same key."""
    token = world.issuer.token()
    assert "k1a" == asyncio.run(world.client.get_signing_key_from_jwt_async(token)).key_id
    assert "k1a" == world.client.get_signing_key_from_jwt(token).key_id
    world.issuer.fetches.expect(jwks=1)


@pytest.mark.parametrize("alg", [{}, {"alg": None}], ids=["with alg", "without alg"])
@pytest.mark.parametrize("algorithm", ["RS256", "ES384", "EdDSA"])
def test_keys_by_name(algorithm: str, alg: dict[str, None]) -> None:
    """A key is found by its kid alone, before anything is held and after a rollover, bound to its own or its type's usual algorithm."""
    world = World(algorithm, **alg)
    assert algorithm == world.client.get_signing_key("k1a").algorithm_name
    world.issuer.fetches.expect(jwks=1)
    world.clock.advance(1)
    world.issuer.publish("k2", algorithm="ES512")
    assert "ES512" == world.client.get_signing_key("k2").algorithm_name
    world.issuer.fetches.expect(jwks=2)


@pytest.mark.parametrize("algorithm", PYJWT_ALGORITHMS)
def test_keys_by_name_of_a_revoked_key(algorithm: str) -> None:
    """A key that was revoked is not handed out by its name either, and no look-up is spent on it (R11)."""
    world = World(algorithm)
    world.client.get_signing_key("k1a")
    world.source.revoke(kid="k1a")
    world.issuer.fetches.clear()
    with pytest.raises(drop_in.RevokedSigningKeyError):
        world.client.get_signing_key("k1a")
    world.issuer.fetches.expect(discovery=0, jwks=0)


def test_the_whole_set(world: World) -> None:
    """The set holds every key that PyJWT can use, is read when none is held, and again when it is due (R3)."""
    world.issuer.publish("k2", algorithm="RS256", alg=None)
    world.issuer.publish("k3", kid=None)
    keys = world.client.get_jwk_set()
    assert {("k1a", "ES256"), ("k2", "RS256"), (None, "ES256")} == {(key.key_id, key.algorithm_name) for key in keys.keys}
    assert "k1a" == keys["k1a"].key_id
    assert ["k1a", "k2"] == sorted(str(key.key_id) for key in world.client.get_signing_keys())
    world.issuer.fetches.expect(jwks=1)
    world.clock.advance(days=2)
    world.client.get_jwk_set()
    world.issuer.fetches.expect(jwks=2)


def test_the_whole_set_in_an_outage(world: World) -> None:
    """Keys that are too old are not handed out as a set, and an issuer that is down is not asked with every call (R8, R9)."""
    world.client.get_jwk_set()
    world.clock.advance(days=3)
    with world.issuer.down(document="both"):
        world.issuer.fetches.clear()
        for _ in range(5):
            with pytest.raises(drop_in.SigningKeysUnavailableError):
                world.client.get_jwk_set()
    world.issuer.fetches.expect(discovery=1, jwks=1)


def test_a_set_without_names() -> None:
    """Where no key has a kid there are no signing keys in PyJWT's sense, and it is told as PyJWT tells it."""
    world = World(kid=None)
    with pytest.raises(jwt.PyJWKClientError, match="with a kid"):
        world.client.get_signing_keys()


def test_fixed_keys(world: World) -> None:
    """Fixed keys serve as well, and are never asked for again."""
    client = JWKClient(StaticKeySet.from_jwks(world.issuer.jwks()))
    token = world.issuer.token()
    assert "k1a" == client.get_signing_key_from_jwt(token).key_id
    assert "k1a" == asyncio.run(client.get_signing_key_from_jwt_async(token)).key_id
    assert ["k1a"] == [key.key_id for key in client.get_signing_keys()]
    with pytest.raises(drop_in.UnknownSigningKeyError):
        client.get_signing_key("k2")
    with pytest.raises(drop_in.WrongSignatureError):
        client.get_signing_key_from_jwt(world.issuer.forge())
    world.issuer.fetches.expect(discovery=0, jwks=0)


@pytest.mark.parametrize(
    ("source", "settings", "named"),
    [
        ("https://login.example.com/jwks.json", {}, "setting: source"),
        (None, {"algorithms": ["HS256"]}, "setting: algorithms"),
        (None, {"algorithms": ["RS256", "Ed25519"]}, "which PyJWT does not verify"),
    ],
)
def test_settings_are_judged_at_once(world: World, source: Any, settings: dict[str, Any], named: str) -> None:
    """A wrong setting is told when the client is built, with its name."""
    with pytest.raises(ConfigurationError, match=named):
        JWKClient(source or world.source, **settings)


def test_a_narrow_list_of_algorithms(world: World) -> None:
    """A key of an algorithm that is not allowed is no key: not by its name, not in the set."""
    client = JWKClient(world.source, algorithms=["RS256"])
    with pytest.raises(drop_in.UnknownSigningKeyError):
        client.get_signing_key("k1a")
    with pytest.raises(jwt.PyJWKSetError):
        client.get_jwk_set()
