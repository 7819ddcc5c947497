"""Token bytes, judged by validators of every kind over keys of every type, fixed ones and ones that follow an issuer.

Rules of this file:

1. What is accepted was signed by a key of the set, bit for bit, and says what the validator was told to ask for; both are found out
   here without the code that is tested.
2. Fixed keys and an issuer's keys give one verdict: the two have different ways to the same key.
3. What was read can be printed and read again, and says the same.
4. Where the extra `keyturn[speed]` is installed, its decoders and the standard library's give one verdict, and the same claims.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import json
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

from tests.fuzz import json_edits
from tests.fuzz.fixed_keys import FixedKey
from tests.fuzz.target import Native, Target, outcome, require
from tests.unit.attacks_on_claims import CLAIMS
from tests.unit.attacks_on_form import FORM
from tests.unit.attacks_on_json import JSON
from tests.unit.attacks_on_signatures import SIGNATURES
from tests.unit.attacks_on_trust import TRUST

from keyturn import DEFAULT_ALGORITHMS, KeyturnError, StaticKeySet, TokenValidator, ValidatedToken
from keyturn._core import speed
from keyturn._core.token import read_token
from keyturn.testing import FakeClock, FakeIssuer
from keyturn.testing.keys import base64url

ISSUER, AUDIENCE, LEEWAY = "https://issuer.test", "api://test", 60
NOW = int(FakeClock().wall())
KEYS = {"k1": "ES256", "rsa": "RS256", "ed": "EdDSA", "ed448": "Ed448", "es384": "ES384", "es512": "ES512"}
LONGEST_TOKEN = 16_384
LONGEST = LONGEST_TOKEN + 64
SEGMENTS = 3
ODDS_OF_BLIND, ODDS_OF_EDIT, ODDS_OF_SIGNING = 0.15, 0.7, 0.7

WORDS: tuple[Any, ...] = (
    *("alg", "kid", "typ", "cty", "crit", "b64", "zip", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "enc", "epk", "p2c"),
    *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "nonce", "cnf", "events", "at_hash", "client_id", "scope", "scp", "roles", "auth_time"),
    *(*DEFAULT_ALGORITHMS, "none", "HS256", "ML-DSA-65", *KEYS, "JWT", "at+jwt", "application/jwt", "dpop+jwt", ISSUER, AUDIENCE),
    *(f"{ISSUER}/", AUDIENCE.upper(), [AUDIENCE], [AUDIENCE, "api://other"], NOW, NOW + 3_600, NOW - 60, NOW - 61, NOW + 60, NOW + 61, float(NOW)),
)

_open = contextlib.ExitStack()
"""Holds the answer of the issuer that is followed: it stays for as long as the process runs."""


@functools.cache
def ring() -> Mapping[str, FixedKey]:
    """Return the keys by kid."""
    return {kid: FixedKey(kid, algorithm) for kid, algorithm in KEYS.items()}


@functools.cache
def jwks() -> bytes:
    """Return the key set: every key under its kid, for all algorithms of its kind."""
    return json.dumps({"keys": [{"kid": kid, "use": "sig", **key.public_members()} for kid, key in ring().items()]}).encode()


@functools.cache
def validators() -> Mapping[str, TokenValidator]:
    """Return a validator of each kind over the fixed keys, and one that follows an issuer; the issuer's keys are held."""
    clock = FakeClock()
    keys = StaticKeySet.from_jwks(jwks())
    fixed = {"access", "at+jwt", "id"}
    built = {kind: TokenValidator(keys, audience=AUDIENCE, issuer=ISSUER, clock=clock, leeway=LEEWAY, token_type=kind) for kind in sorted(fixed)}
    issuer = FakeIssuer(ISSUER, clock=clock)
    _open.enter_context(issuer.answer(jwks()))
    built["following"] = TokenValidator(ISSUER, audience=AUDIENCE, fetcher=issuer.fetcher(), clock=clock, leeway=LEEWAY)
    built["following"].client.refresh()
    return built


def read(data: bytes) -> Mapping[str, Any]:
    """Hand bytes to every validator; return what each of them says."""
    text = data.decode("utf-8", "surrogateescape")
    return {kind: outcome(lambda validator=validator: validator.validate(text)) for kind, validator in validators().items()}


def check(data: bytes) -> bool:
    """Judge bytes as a token, by the rules of this file."""
    text = data.decode("utf-8", "surrogateescape")
    verdicts = read(data)
    accepted = {kind: token for kind, token in verdicts.items() if isinstance(token, ValidatedToken)}
    for token in accepted.values():
        require_signed(text)
        require_good(token)
    require(("access" in accepted) == ("following" in accepted), f"fixed keys and an issuer's keys disagree: {sorted(accepted)}")
    require_stable(text)
    require_same_without_extra(data, verdicts)
    return bool(accepted)


def require_same_without_extra(data: bytes, verdicts: Mapping[str, Any]) -> None:
    """Raise `Broken` unless the standard library's decoders lead to the same verdicts, texts and claims."""
    if speed.compiled_json is None and speed.decode_base64 is speed.standard_base64:
        return
    with mock.patch.multiple(speed, compiled_json=None, decode_base64=speed.standard_base64):
        plain = read(data)
    require({kind: _told(found) for kind, found in plain.items()} == {kind: _told(found) for kind, found in verdicts.items()}, "decoders disagree")


def _told(found: object) -> str:
    # Types count: 1 and 1.0 are equal, and not the same claim.
    return repr((dict(found.claims), dict(found.header))) if isinstance(found, ValidatedToken) else f"{type(found).__name__} {found}"


def require_signed(text: str) -> None:
    """Raise `Broken` unless a key of the set signed this text bit for bit."""
    segments = text.split(".")
    require(len(segments) == SEGMENTS, "a token without three segments was accepted")
    octets = [base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)) for segment in segments]
    require([base64url(part) for part in octets] == segments, "a segment that is written in a second way was accepted")
    header = json.loads(octets[0])
    named = [key for kid, key in ring().items() if header.get("kid", kid) == kid]
    signing_input = ".".join(segments[:2]).encode()
    require(any(key.signed(header["alg"], signing_input, octets[2]) for key in named), "a token that no key signed was accepted")


def require_good(token: ValidatedToken) -> None:
    """Raise `Broken` unless the claims are what every kind of validator here asks for."""
    claims = token.claims
    audience = claims["aud"]
    require(claims["iss"] == ISSUER, "another issuer's token was accepted")
    require(AUDIENCE in (audience if isinstance(audience, list) else [audience]), "a token for others was accepted")
    instants = [claims[name] for name in ("exp", "nbf", "iat") if name in claims]
    require(all(type(instant) in {int, float} and math.isfinite(instant) for instant in instants), "a claim that is no instant was accepted")
    require(NOW < claims["exp"] + LEEWAY, "an expired token was accepted")
    require(all(claims[name] <= NOW + LEEWAY for name in ("nbf", "iat") if name in claims), "a token of the future was accepted")
    require("cnf" not in claims and not {"crit", "b64", "zip"} & set(token.header), "a token that must not be understood was accepted")


def require_stable(text: str) -> None:
    """Raise `Broken` unless header and claims, printed and read again, are what was read."""
    try:
        first = read_token(text, algorithms=DEFAULT_ALGORITHMS, max_bytes=LONGEST_TOKEN)
    except KeyturnError:
        return
    printed = [_printed(part) for part in first[:2]]
    again = ".".join(map(base64url, [*printed, first.signature]))
    second = read_token(again, algorithms=DEFAULT_ALGORITHMS, max_bytes=4 * LONGEST_TOKEN)
    require(printed == [_printed(part) for part in second[:2]], "a token that was printed reads differently")


def _printed(part: Mapping[str, Any]) -> bytes:
    # 1e400 is a number of JSON and reads as infinity, which JSON has no word for. Half a surrogate pair would not be printed at all.
    return json.dumps(part, ensure_ascii=False).replace("Infinity", "1e400").encode()


def seeds() -> Iterator[bytes]:
    """Yield good tokens of every kind and key, and the catalogue of attacks, signed with the key that they name."""
    for kid, key in ring().items():
        for algorithm in key.algorithms:
            for header, claims in _kinds():
                yield _signed(json.dumps({"alg": algorithm, "kid": kid, **header}).encode(), json.dumps(claims).encode(), key, algorithm)
    for attacks in {**FORM, **JSON, **TRUST, **SIGNATURES, **CLAIMS}.values():
        issuer = FakeIssuer(ISSUER, clock=FakeClock())
        issuer._keys["k1"].private = ring()["k1"]
        for attack in attacks(issuer):
            if isinstance(attack.token, str) and len(attack.token) <= LONGEST:
                yield attack.token.encode("utf-8", "surrogatepass")


def _kinds() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": NOW, "exp": NOW + 3_600}
    yield {"typ": "JWT"}, {**claims, "scope": "a b", "roles": ["r"]}
    yield {"typ": "at+jwt"}, {**claims, "client_id": "c", "jti": "j", "aud": [AUDIENCE, "api://other"]}
    yield {}, {**claims, "nonce": "n", "azp": AUDIENCE, "auth_time": NOW}


def mutate(data: bytes, limit: int, chance: random.Random, native: Native) -> bytes:
    """Change header, payload or signature below their base64url, and more often than not sign what came of it."""
    parts = _decoded(data)
    if parts is None or chance.random() < ODDS_OF_BLIND:
        return native(data, limit)
    place = chance.choice((0, 0, 1, 1, 2))
    if place == SEGMENTS - 1:
        return _joined([*parts[:2], native(parts[2], max(1, len(parts[2]) * 2))])
    parts[place] = _changed(parts[place], chance, native)
    if chance.random() < ODDS_OF_SIGNING:
        kid, algorithm = _named(parts[0])
        key = ring().get(kid) or chance.choice(list(ring().values()))
        return _signed(parts[0], parts[1], key, algorithm if algorithm in key.algorithms else chance.choice(key.algorithms))
    return _joined(parts)


def _decoded(data: bytes) -> list[bytes] | None:
    try:
        parts = [base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)) for segment in data.split(b".")]
    except (binascii.Error, ValueError):
        return None
    return parts if len(parts) == SEGMENTS else None


def _changed(text: bytes, chance: random.Random, native: Native) -> bytes:
    if chance.random() < ODDS_OF_EDIT:
        try:
            return json_edits.printed(json_edits.edited(json_edits.parsed(text), chance, WORDS))
        except ValueError:
            pass
    return native(text, len(text) + 64)


def _named(header: bytes) -> tuple[str, str]:
    try:
        named = dict(json_edits.parsed(header))
    except (ValueError, TypeError):
        return "", ""
    return str(named.get("kid")), str(named.get("alg"))


def _signed(header: bytes, payload: bytes, key: FixedKey, algorithm: str) -> bytes:
    signing_input = _joined([header, payload])
    return signing_input + b"." + base64url(key.sign_as(algorithm, signing_input)).encode()


def _joined(parts: list[bytes]) -> bytes:
    return ".".join(map(base64url, parts)).encode()


TARGET = Target("token", read, check, seeds, mutate, [word for word in WORDS if isinstance(word, str)], LONGEST)
