"""What each scenario plays, and what some of them publish beforehand: small functions on a stage.

Rules of this file:

1. A play sends tokens and takes steps of the issuer; it draws no conclusion.
2. What a service needs a refresh for is asked for once: without a start of its own a service may read keys once in five minutes.
3. A preparation is published before the service is started, or before the pause; `TRIGGER` is then the key that makes a service that runs
   on read the set. What it did not take is not asked about: its own check says so (`set_was_taken`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keyturn.drill.stage import Stage
from keyturn.testing.attacks.bad_token import BadToken
from keyturn.testing.keys import base64url, mint

OLD, NEW, KNOWN, UNKNOWN, TRIGGER, REMOVED = "old key", "new key", "known key", "made-up keys", "another new key", "removed key"
"""Sorts of tokens."""

GOOD, NO_TOKEN, NO_JWT, FORGED, EXPIRED = "good token", "no token", "no JWT", "forged token", "expired token"
"""Sorts of tokens of the first scenario."""

BAD, STRICTER, ORDER, WITHOUT_ALG, OTHER_ALG, TWIN = "bad tokens", "stricter choices", "keys of the set", "without alg", "other algorithm", "twin"
"""Sorts of tokens of the scenarios about content."""

FLOOD, FLOOD_SECONDS, FLOOD_REQUESTS = 200, 10.0, 10
"""Tokens of the flood, the seconds over which they are spread, and the requests to the issuer that are allowed meanwhile: one a second."""

BUSY, BUSY_SECONDS, BUSY_REQUESTS, RETRY_AFTER = 20, 5.0, 5, 60
"""The same for the issuer that answers 429, and the Retry-After that it sends."""

SLOW_SECONDS, PROMPT_SECONDS, SLOW_TOKENS = 5.0, 2.0, 6
"""Seconds that the slow issuer holds a request, those in which known keys must be judged, and made-up tokens sent meanwhile."""

KEYS = 50
"""Entries of the set with broken ones."""

_SHORT, _CALM = 1.0, 5.0
_PHASE_SECONDS, _PHASE_TOKENS = 1.5, 4
_KEYS_IN_ORDER = 5
_PRIME_P256_BYTES = 32


def baseline(stage: Stage) -> None:
    """Send a good token, and four that no service may accept."""
    stage.until_accepted(GOOD, stage.base)
    stage.ask(NO_TOKEN, None)
    stage.ask(NO_JWT, "x")
    stage.ask(FORGED, stage.issuer.forge(key=stage.base))
    stage.ask(EXPIRED, stage.issuer.token(key=stage.base, lifetime=-3600))


def planned_rollover(stage: Stage) -> None:
    """Publish a key while the old one signs, then sign with it; both are published all the time."""
    new = stage.publish_new()
    stage.step("the new key is published, the old one signs on")
    stage.keep_asking({OLD: stage.base}, _SHORT)
    stage.issuer.promote(new)
    stage.step("the new key signs")
    stage.until_accepted(NEW, new)
    stage.keep_asking({OLD: stage.base, NEW: new}, _SHORT)


def new_key_at_once(stage: Stage) -> None:
    """Publish a key and sign with it in the same instant."""
    new = stage.publish_new()
    stage.issuer.promote(new)
    stage.step("a new key is published and signs at once")
    stage.until_accepted(NEW, new)
    stage.keep_asking({OLD: stage.base, NEW: new}, _SHORT)


def cut_over(stage: Stage) -> None:
    """Put one key in the place of the other, without overlap."""
    new = _replaced_base(stage)
    stage.step("the new key is published and signs; the old one is gone")
    stage.until_accepted(NEW, new)
    stage.keep_asking({NEW: new}, _SHORT)
    stage.ask_key(REMOVED, stage.base)


def key_removed(stage: Stage) -> None:
    """Take the key out of the set, and see how long the service accepts it once it had a reason to read the set."""
    new = _replaced_base(stage)
    stage.step("the key is removed, another one signs")
    stage.ask_key(REMOVED, stage.base)
    stage.until_accepted(NEW, new)
    stage.until_turned_away(REMOVED, stage.base)


def _replaced_base(stage: Stage) -> str:
    new = stage.publish_new()
    stage.issuer.promote(new)
    # Withheld, not retired: a service that runs on must be brought back to a state that it knows.
    stage.issuer.withhold(stage.base)
    return new


def prepare_order(stage: Stage) -> None:
    """Publish several keys, of which one in the middle signs."""
    for number in range(1, _KEYS_IN_ORDER):
        stage.keys[f"key {number}"] = stage.publish_new()
    stage.issuer.shuffle(3)


def reordered_set(stage: Stage) -> None:
    """Send tokens of all keys, change the order, give a reason to read the set again, send tokens of all keys."""
    last = stage.keys[f"key {_KEYS_IN_ORDER - 1}"]
    if not stage.until_accepted(TRIGGER, last):
        return
    keys = {"signing key": stage.base, **stage.keys}
    for name, kid in keys.items():
        stage.ask_key(ORDER, kid, name)
    first = stage.publish_new()
    stage.issuer.shuffle(8)
    stage.step("the order of the set is changed, a new key is among the others")
    if stage.until_accepted(NEW, first, _CALM):
        for name, kid in {**keys, "new key": first}.items():
            stage.ask_key(ORDER, kid, name)


def prepare_no_alg(stage: Stage) -> None:
    """Publish keys without `alg`, of the drill's algorithm and of another one, and one of that other with it."""
    own = "RS256" if stage.issuer.algorithm.startswith(("RS", "PS")) else "ES256"
    other = "ES256" if own == "RS256" else "RS256"
    stage.keys |= {
        TRIGGER: stage.publish_new(),
        own: stage.publish_new(own, alg=None),
        other: stage.publish_new(other, alg=None),
        OTHER_ALG: stage.publish_new(other),
    }


def no_alg(stage: Stage) -> None:
    """Send tokens of the keys without `alg`."""
    if not stage.until_accepted(TRIGGER, stage.keys[TRIGGER]):
        return
    stage.ask_key(OTHER_ALG, stage.keys[OTHER_ALG])
    for name, kid in stage.keys.items():
        if name not in {TRIGGER, OTHER_ALG}:
            stage.ask_key(WITHOUT_ALG, kid, name)


def prepare_broken_keys(stage: Stage) -> None:
    """Publish fifty entries: good keys among entries that no service can use."""
    stage.keys[TRIGGER] = stage.publish_new()
    stage.keys[TWIN] = stage.publish_new()
    broken = broken_entries(stage)
    # Another good key, of another type, under the kid of a good one (RFC 7517, section 4.5).
    stage.issuer.add_entry({"kid": stage.keys[TWIN], "use": "sig", **mint("Ed25519", owner=stage).public_members()})
    for number in range(KEYS - len(stage.issuer.jwks()["keys"])):
        entry = broken[number % len(broken)]
        stage.issuer.add_entry({**entry, "kid": f"broken-{number}"} if "kid" in entry else entry)
    stage.issuer.shuffle(5)


def broken_entries(stage: Stage) -> list[dict[str, Any]]:
    """Return entries that a service must leave out and live with (RFC 7517, section 5)."""
    good = mint("RS256", owner=stage).public_members()
    small = mint("RS256", owner=stage, rsa_bits=1024).public_members()
    curve = mint("ES256", owner=stage).public_members()
    off = base64url(bytes(_PRIME_P256_BYTES - 1) + b"\x05")
    return [
        {"kid": "", "kty": "oct", "use": "sig", "alg": "HS256", "k": base64url(b"no secret at all, published.....")},
        {"kid": "", "kty": "XYZ", "use": "sig", "xyz": "AQAB"},
        {"kid": "", "kty": "AKP", "use": "sig", "alg": "ML-DSA-44", "pub": base64url(bytes(1312))},
        {"kid": "", "use": "sig", **small},
        {"kid": "", "use": "sig", "kty": "RSA", "e": "AQAB"},
        {"kid": "", "use": "sig", "kty": "RSA", "n": good["n"]},
        {"kid": "", "use": "sig", "kty": "RSA", "n": "!not base64url!", "e": "AQAB"},
        {"kid": "", "use": "sig", "kty": "RSA", "n": 12345, "e": "AQAB"},
        {"kid": "", "use": "sig", "kty": "EC", "crv": "P-999", "x": curve["x"], "y": curve["y"]},
        {"kid": "", "use": "sig", "kty": "EC", "crv": "P-256", "x": off, "y": off},
        {"kid": "", "use": "sig", "kty": "EC", "crv": "P-256", "x": curve["x"]},
        {"kid": "", "use": "enc", "kty": "OKP", "crv": "X25519", "x": base64url(bytes(31) + b"\x09")},
        {"kid": "", "use": "enc", "alg": "RSA-OAEP", **good},
        {"kid": "", "use": "sig", **good, "x5c": ["not a certificate"]},
        {"kid": "", "use": "sig", "key_ops": "sign", **good},
        {"kid": "", "use": "sig"},
        {"use": "sig", "kty": "RSA"},
        {},
    ]


def broken_keys(stage: Stage) -> None:
    """Send tokens of the good keys of the set."""
    if stage.until_accepted(TRIGGER, stage.keys[TRIGGER]):
        stage.ask_key(TWIN, stage.keys[TWIN])
    stage.keep_asking({KNOWN: stage.base}, _SHORT)


def kid_reused(stage: Stage) -> None:
    """Put a new key under the kid of the old one; then give a further reason to read the set."""
    stage.issuer.replace_material(stage.base)
    stage.step("another key stands under the same kid, and signs")
    if not stage.until_accepted(NEW, stage.base, _CALM):
        further = stage.publish_new()
        stage.step("a further key is published, as a reason to read the set")
        stage.ask_key(TRIGGER, further)
        stage.until_accepted(NEW, stage.base)


def issuer_down(stage: Stage) -> None:
    """Let the issuer fail in four ways, one after the other."""
    ways = (
        ("the issuer answers 503", stage.issuer.down_for_all(503)),
        ("the issuer drops connections", stage.issuer.drop_connection(document="both")),
        ("the issuer answers with a page of HTML", stage.issuer.answer(b"<html>502</html>", headers={"content-type": "text/html"}, document="both")),
        ("the issuer publishes an empty set", stage.issuer.answer(b'{"keys":[]}')),
    )
    for words, way in ways:
        with way:
            stage.step(words)
            with stage.meanwhile(UNKNOWN, stage.made_up(_PHASE_TOKENS), _PHASE_SECONDS):
                stage.keep_asking({KNOWN: stage.base}, _PHASE_SECONDS)
    stage.step("the issuer is back")
    stage.ask_key(KNOWN, stage.base)


def issuer_slow(stage: Stage) -> None:
    """Let the issuer hold every request, and send tokens of a known key while others wait for it."""
    with stage.issuer.slow(SLOW_SECONDS, document="both"):
        stage.step(f"the issuer takes {SLOW_SECONDS:g} s for an answer")
        with stage.meanwhile(UNKNOWN, stage.made_up(SLOW_TOKENS), 0.5):
            stage.keep_asking({KNOWN: stage.base}, SLOW_SECONDS, every=0.1)


def issuer_429(stage: Stage) -> None:
    """Let the issuer answer 429 with a Retry-After, while tokens of unknown keys come."""
    with stage.issuer.down_for_all(429, RETRY_AFTER):
        stage.step(f"the issuer answers 429, Retry-After {RETRY_AFTER} s")
        with stage.meanwhile(UNKNOWN, stage.made_up(BUSY), BUSY_SECONDS):
            stage.keep_asking({KNOWN: stage.base}, BUSY_SECONDS, every=0.5)


def unknown_kid_flood(stage: Stage) -> None:
    """Send many tokens of made-up keys, each with a kid of its own."""
    stage.step(f"{FLOOD} tokens of made-up keys in {FLOOD_SECONDS:g} s")
    with stage.meanwhile(UNKNOWN, stage.made_up(FLOOD), FLOOD_SECONDS):
        stage.keep_asking({KNOWN: stage.base}, FLOOD_SECONDS, every=0.5)


def bad_tokens(stage: Stage) -> None:
    """Send every bad token of the catalogue that needs no bad key, and a good one at the end."""
    _send_bad(stage, stage.issuer.bad_tokens(publish=False))


def prepare_bad_keys(stage: Stage) -> None:
    """Publish keys that no issuer should publish: too short, of a trivial exponent, of another issuer."""
    stage.keys[TRIGGER] = stage.publish_new()
    stage.issuer.bad_tokens()


def bad_keys(stage: Stage) -> None:
    """Send the bad tokens that rely on such keys, and a good one at the end."""
    taken = stage.until_accepted(TRIGGER, stage.keys[TRIGGER])
    _send_bad(stage, [bad for bad in stage.issuer.bad_tokens() if bad.needs_entry and taken])


def _send_bad(stage: Stage, catalogue: Iterable[BadToken]) -> None:
    stage.step("bad tokens are sent")
    for bad in catalogue:
        stage.facts[bad.name] = bad.why
        stage.ask(BAD if bad.universal else STRICTER, bad.token, bad.name)
    stage.ask_key(KNOWN, stage.base)
