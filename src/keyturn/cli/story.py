"""The story of `keyturn demo`: some five days of an issuer that does everything to its keys that real ones have done.

Each chapter moves the clock, changes what the issuer publishes, sends tokens, and says of each what the rules promise. The numbers come
from the policy in force, so a policy with other numbers tells the same story.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator

from keyturn.cli.stage import Stage, Step

_MINUTE = 60.0
_HOUR = 3600.0
_PUBLISHED = "of a published key"

FLOOD_MINUTES = 30
"""How long the flood lasts."""

FLOOD_TOKENS = 100
"""Tokens of the flood in each minute."""


def story(stage: Stage) -> Iterator[Step]:
    """Play every chapter; yield a step after each thing that happened."""
    for chapter in CHAPTERS:
        yield from chapter(stage)


def planned(stage: Stage) -> Iterator[Step]:
    """A rollover as it should be: published first, signing later, the old key still there."""
    stage.send(200, _PUBLISHED, "accepted", key="k1")
    yield stage.tell("start: k1 (ES256) is published and signs")
    stage.advance(30 * _MINUTE)
    stage.issuer.publish("k2", "RS256")
    stage.send(200, _PUBLISHED, "accepted", key="k1")
    yield stage.tell("k2 (RS256) is published, k1 signs on")
    stage.advance(30 * _MINUTE)
    stage.issuer.promote("k2")
    stage.send(200, _PUBLISHED, "accepted", key="k2")
    stage.send(100, _PUBLISHED, "accepted", key="k1")
    yield stage.tell("k2 signs: its first token is judged after one refresh")


def reordered(stage: Stage) -> Iterator[Step]:
    """A day of the same keys in ever another order, beside an entry that cannot be used (R1, R2, R3)."""
    stage.issuer.publish("k3", "Ed25519")
    stage.issuer.add_entry({"kty": "RSA", "use": "enc", "kid": "encryption", "n": "AQAB", "e": "AQAB"})
    for _ in range(_hours(stage.policy.refresh_interval)):
        stage.advance(_HOUR)
        stage.issuer.shuffle(stage.random.randrange(2**32))
        stage.send(20, _PUBLISHED, "accepted", key=stage.random.choice(["k1", "k2"]))
    yield stage.tell("a day: the order changes every hour, an unusable entry joins; refreshed on schedule")


def cut_over(stage: Stage) -> Iterator[Step]:
    """An emergency: one key is replaced by another from one instant to the next (R4, R10)."""
    stage.advance(10 * _MINUTE)
    stage.issuer.cut_over("k4", "Ed25519")
    stage.send(200, _PUBLISHED, "accepted", key="k4")
    stage.send(100, "of a key within its grace", "accepted", key="k2")
    yield stage.tell("cut over to k4 (Ed25519), nothing overlaps: k4 at once, k2 within its grace")
    stage.advance(stage.policy.removed_key_grace + 10 * _MINUTE)
    stage.send(100, "of a removed key after its grace", "refused", key="k2")
    stage.send(100, _PUBLISHED, "accepted", key="k4")
    yield stage.tell(f"the grace of {_hours(stage.policy.removed_key_grace)} h is over: k2 is refused")


def vanishing(stage: Stage) -> Iterator[Step]:
    """A key that is missing from the answers for a while and comes back, as real ones do (R10)."""
    _roll_over(stage, "k5")
    stage.issuer.withhold("k4")
    stage.advance(10 * _MINUTE)
    stage.send(100, _PUBLISHED, "accepted", key="k5")
    for _ in range(9):
        stage.advance(10 * _MINUTE)
        stage.send(10, "of a key within its grace", "accepted", key="k4")
    yield stage.tell("k5 signs, and k4 vanishes from the set for 90 min: it serves on")
    stage.issuer.restore("k4")
    for _ in range(_hours(stage.policy.removed_key_grace) * 6 + 6):
        stage.advance(10 * _MINUTE)
        stage.send(10, _PUBLISHED, "accepted", key="k4")
    yield stage.tell("k4 is back, and was asked for without anybody waiting: it outlives its grace")


def short_outage(stage: Stage) -> Iterator[Step]:
    """Six hours in which the issuer answers 503, with a rollover in their midst (R8, R9)."""
    with stage.issuer.down(503, document="both"):
        for hour in range(6):
            stage.advance(_HOUR)
            stage.send(30, _PUBLISHED, "accepted", key="k5")
            stage.send(3, "under an invented kid, issuer down", "unavailable", _junk(stage))
            if hour == 3:  # noqa: PLR2004 - in the midst of it
                _roll_over(stage, "k6")
            if stage.issuer.signing_kid == "k6":
                stage.send(5, "of a key published while the issuer is down", "unavailable", key="k6")
    yield stage.tell("down for 6 h, k6 signs since the 4th: known keys serve, the rest is 503 and never 401")
    stage.advance(stage.policy.retry_max)
    stage.send(100, _PUBLISHED, "accepted", key="k6")
    yield stage.tell("up again: k6 is accepted on its first request")


def long_outage(stage: Stage) -> Iterator[Step]:
    """An outage that is longer than any trust: at its end nobody knows, and it heals by itself (R9)."""
    with stage.issuer.drop_connection(document="both"):
        while stage.key_age() + _HOUR < stage.policy.longest_outage_served:
            stage.advance(_HOUR)
            stage.send(10, _PUBLISHED, "accepted", key="k6")
        yield stage.tell(f"connections drop for {stage.policy.longest_outage_served / _HOUR:.0f} h: known keys serve on")
        for _ in range(6):
            stage.advance(_HOUR)
            stage.send(10, "of a key confirmed too long ago, issuer down", "unavailable", key="k6")
        yield stage.tell("the keys are too old to vouch for anybody: 503 and never 401")
    stage.advance(stage.policy.retry_max)
    stage.send(100, _PUBLISHED, "accepted", key="k6")
    yield stage.tell("up again: healed without a restart")


def stolen(stage: Stage) -> Iterator[Step]:
    """A stolen key, which the issuer goes on publishing (R11)."""
    stage.advance(10 * _MINUTE)
    stage.client.revoke(kid="k6")
    stage.send(100, "of a stolen key, revoked and still published", "refused", key="k6")
    yield stage.tell("k6 is stolen and revoked here: its tokens are refused from this instant")
    _roll_over(stage, "k7")
    stage.send(100, _PUBLISHED, "accepted", key="k7")
    stage.send(100, "of a stolen key, revoked and still published", "refused", key="k6")
    yield stage.tell("k7 signs; a refresh brings k6 again, and it stays revoked")


def flood(stage: Stage) -> Iterator[Step]:
    """Somebody invents kids, hundreds a minute, and a real rollover happens meanwhile (R5, R13)."""
    stage.advance(10 * _MINUTE)
    since = float("inf")
    for minute in range(FLOOD_MINUTES):
        if minute == 7:  # noqa: PLR2004 - some minutes after the allowance was spent
            _roll_over(stage, "k8")
            since = stage.now
        stage.send(FLOOD_TOKENS, "forged under an invented kid", "refused", _junk(stage))
        if stage.issuer.signing_kid == "k8":
            # The allowance may have been spent a moment ago, so the new key is promised after it has returned, and no later.
            if stage.now - since >= stage.policy.on_demand_interval:
                stage.send(10, _PUBLISHED, "accepted", key="k8")
            else:
                stage.send(10, "of a key published a moment ago, in the flood", "accepted soon", key="k8")
        stage.send(10, _PUBLISHED, "accepted", key="k7")
        stage.advance(_MINUTE)
    most = 1 + int(FLOOD_MINUTES * _MINUTE // stage.policy.on_demand_interval)
    yield stage.tell(f"{FLOOD_MINUTES * FLOOD_TOKENS:,} invented kids in {FLOOD_MINUTES} min, k8 signs since the 8th: {most} fetches are allowed")


def forged(stage: Stage) -> Iterator[Step]:
    """Everything that a forger tries (R6)."""
    stage.advance(10 * _MINUTE)
    for why, make in _forgeries(stage).items():
        stage.send(40, why, "refused", make)
    yield stage.tell("forged, altered, unsigned, expired, somebody else's: all refused")


def last_tokens(stage: Stage) -> Iterator[Step]:
    """The end: every key of the past is refused, and the present one serves."""
    for kid in ("k1", "k2"):
        stage.send(20, "of a removed key after its grace", "refused", key=kid)
    stage.send(20, "of a stolen key, revoked and still published", "refused", key="k6")
    stage.send(100, _PUBLISHED, "accepted", key="k8")
    yield stage.tell("the end: k1, k2 and k6 are refused for good, k8 serves")


CHAPTERS: tuple[Callable[[Stage], Iterator[Step]], ...] = (
    planned,
    reordered,
    cut_over,
    vanishing,
    short_outage,
    long_outage,
    stolen,
    flood,
    forged,
    last_tokens,
)
"""What happens, in this order."""


def _roll_over(stage: Stage, kid: str) -> None:
    """Publish a key somewhere among the others and sign with it at once."""
    stage.issuer.publish(kid)
    stage.issuer.shuffle(stage.random.randrange(2**32))
    stage.issuer.promote(kid)


def _hours(seconds: float) -> int:
    return round(seconds / _HOUR)


def _junk(stage: Stage) -> Callable[[], str]:
    """Return what makes tokens that name a kid which nobody ever published."""
    return lambda: stage.issuer.forge(key=f"{stage.random.randrange(2**64):016x}")


def _forgeries(stage: Stage) -> dict[str, Callable[[], str]]:
    issuer = stage.issuer
    return {
        "forged under a published kid": issuer.forge,
        "altered after it was signed": lambda: _altered(issuer.token()),
        "unsigned (alg none)": lambda: issuer.encode({"alg": "none"}, _claims(stage), signature=b""),
        "signed with the public key as a secret (HS256)": lambda: _confused(stage),
        "forged, with its key in the header": lambda: issuer.forge(headers={"jwk": issuer.jwks()["keys"][0]}),
        "for another service": lambda: issuer.token(audience="api://payroll"),
        "of another issuer": lambda: issuer.token(iss="https://issuer.invalid"),
        "expired": lambda: issuer.token(lifetime=-120),
        "a login's ID token": lambda: issuer.token(at_hash="77QmUPtjPfzWtF2AnpK9RQ"),
    }


def _claims(stage: Stage) -> dict[str, object]:
    now = int(stage.clock.wall())
    return {"iss": stage.issuer.issuer, "aud": stage.issuer.audience, "sub": "mallory", "iat": now, "exp": now + 3600}


def _altered(token: str) -> str:
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    changed = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "mallory"}).encode()).rstrip(b"=").decode()
    return f"{head}.{changed}.{signature}"


def _confused(stage: Stage) -> str:
    header = {"alg": "HS256", "kid": stage.issuer.signing_kid}
    unsigned = stage.issuer.encode(header, _claims(stage), signature=b"").rstrip(".")
    secret = json.dumps(stage.issuer.jwks()["keys"][0]).encode()
    return f"{unsigned}.{base64.urlsafe_b64encode(hmac.digest(secret, unsigned.encode(), hashlib.sha256)).rstrip(b'=').decode()}"
