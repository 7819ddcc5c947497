"""The scenarios: what each plays, what a good service does, why, and the checks that judge it.

Rules of this file:

1. Each scenario tests one promise first: nobody in who does not belong (security), nobody out who belongs (availability), the issuer is
   never hammered (issuer).
2. What is expected is fair: it follows from a standard, or from what issuers are known to do. Where good services differ, nothing fails.
3. Their order is the order in which they are played. Those whose key sets a service may choke on, or that could leave a service that
   runs on without a key that it knows, come last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from keyturn.drill import plays
from keyturn.drill.observations import Played
from keyturn.drill.plays import BAD, GOOD, KNOWN, NEW, OLD, ORDER, OTHER_ALG, REMOVED, STRICTER, TRIGGER, TWIN, UNKNOWN, WITHOUT_ALG
from keyturn.drill.stage import Stage
from keyturn.drill.verdict import (
    Check,
    Finding,
    answered_within,
    becomes_accepted,
    each_accepted,
    ends_accepted,
    never_accepted,
    requests_at_most,
    retry_after_obeyed,
    set_was_taken,
    stays_accepted,
    tells_no_errors,
    told_for_information,
    told_if_unasked,
)
from keyturn.errors import ConfigurationError, quoted

Promise = Literal["security", "availability", "issuer"]
"""Which promise a scenario tests (1)."""

PROMISES: Final[dict[Promise, str]] = {
    "security": "nobody in who does not belong",
    "availability": "nobody out who belongs",
    "issuer": "the issuer is never hammered",
}
"""The promises in words."""

BASELINE: Final = "baseline"
"""Name of the scenario that is always played, first."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario.

    Attributes:
        name: What it is called.
        promise: Which promise it tests first.
        plays: What it plays, in one sentence.
        expects: What a good service does, in one sentence.
        why: Why that may be asked of it.
        play: Plays it.
        checks: What judges it.
        prepare: Publishes beforehand what it needs, if anything.
        refresh: Whether the service has to read the key set again, so that one that runs on is given a pause before.
        seconds: How long it takes at least.
        watches: How often it may watch to the end.
    """

    name: str
    promise: Promise
    plays: str
    expects: str
    why: str
    play: Callable[[Stage], None]
    checks: tuple[Check, ...]
    prepare: Callable[[Stage], None] | None = None
    refresh: bool = True
    seconds: float = 1.0
    watches: int = 1


def _other_algorithms(played: Played) -> Iterable[Finding]:
    """Judge keys without alg: one of an algorithm that the service takes from no key at all is a note."""
    last = {ask.label: ask for ask in played.track(WITHOUT_ALG)}
    taken = any(ask.accepted for ask in played.track(OTHER_ALG))
    for number, (name, ask) in enumerate(last.items()):
        if ask.accepted:
            yield Finding("pass", f"{name} without alg: accepted")
        elif number and not taken:
            yield Finding("note", f"{name} is accepted from no key, with alg or without, so it was not judged")
        else:
            yield Finding("fail", f"{name} without alg: turned away ({ask.answer.told})")


def _twin(played: Played) -> Iterable[Finding]:
    """Judge a good key beside another one of its kid: issuers should not do that, so it is a note."""
    for ask in played.track(TWIN):
        if not ask.accepted:
            yield Finding("note", f"a good key that shares its kid with one of another type was turned away ({ask.answer.told})")


def _further_reading(played: Played) -> Iterable[Finding]:
    """Say that the order could not be changed under a service that had read the set: a note, for half of the scenario was not seen."""
    if played.track(NEW) and not any(ask.accepted for ask in played.track(NEW)):
        yield Finding("note", "the set was not read again after its order changed, so only the first reading was judged")


_PLANNED_WHY = "Whoever reads the key set when a token names an unknown key needs no notice (OpenID Connect Core, section 10.1.1)."

SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario(
        BASELINE,
        "security",
        "A good token; none; no JWT; a forged one; an expired one.",
        "The good token alone is accepted.",
        "Without this nothing else means anything.",
        plays.baseline,
        (becomes_accepted(GOOD), *(never_accepted(track) for track in (plays.NO_TOKEN, plays.NO_JWT, plays.FORGED, plays.EXPIRED))),
        refresh=False,
    ),
    Scenario(
        "planned-rollover",
        "availability",
        "A new key is published, the old one signs on; then the new one signs; both stay published.",
        "The old key's tokens are accepted all the time, the new key's from the first one on.",
        _PLANNED_WHY,
        plays.planned_rollover,
        (stays_accepted(OLD), becomes_accepted(NEW)),
        seconds=2.0,
    ),
    Scenario(
        "new-key-at-once",
        "availability",
        "A new key is published and signs in the same instant, before any service could poll.",
        "The new key's first token is accepted, the old key's tokens stay accepted.",
        _PLANNED_WHY,
        plays.new_key_at_once,
        (becomes_accepted(NEW), stays_accepted(OLD)),
    ),
    Scenario(
        "cut-over",
        "availability",
        "From one instant to the next the new key stands in the place of the old one, without overlap.",
        "The new key's first token is accepted; whether the old key still is, is the service's policy.",
        "Issuers do this in an emergency, and some always.",
        plays.cut_over,
        (becomes_accepted(NEW), told_for_information(REMOVED)),
    ),
    Scenario(
        "reordered-set",
        "availability",
        "Five keys are published, one in the middle signs; the order changes, and a new key comes among them.",
        "Tokens of every published key are accepted, whatever the order.",
        "The order of a key set means nothing (RFC 7517, section 5).",
        plays.reordered_set,
        (set_was_taken(TRIGGER), each_accepted(ORDER), _further_reading),
        prepare=plays.prepare_order,
    ),
    Scenario(
        "no-alg",
        "availability",
        "Keys are published without alg.",
        "Their tokens are accepted as if it were there.",
        "alg is optional (RFC 7517, section 4.4), and large issuers leave it out.",
        plays.no_alg,
        (set_was_taken(TRIGGER), _other_algorithms),
        prepare=plays.prepare_no_alg,
    ),
    Scenario(
        "issuer-down",
        "availability",
        "The issuer answers 503, drops connections, answers with HTML, publishes an empty set; made-up keys come meanwhile.",
        "Tokens of the known key are accepted throughout; made-up keys get 401 or 503.",
        "Keys that are held need no issuer; a bad answer is no reason to forget them.",
        plays.issuer_down,
        (stays_accepted(KNOWN), never_accepted(UNKNOWN, silent="note"), tells_no_errors(UNKNOWN), told_if_unasked),
        seconds=6.5,
        watches=0,
    ),
    Scenario(
        "issuer-slow",
        "availability",
        f"The issuer takes {plays.SLOW_SECONDS:g} s for each answer, while tokens of made-up keys come.",
        f"Tokens of the known key are accepted, each within {plays.PROMPT_SECONDS:g} s.",
        "A request whose key is held has nothing to wait for.",
        plays.issuer_slow,
        (
            stays_accepted(KNOWN),
            answered_within(KNOWN, plays.PROMPT_SECONDS),
            never_accepted(UNKNOWN, silent="note"),
            tells_no_errors(UNKNOWN),
            told_if_unasked,
        ),
        seconds=plays.SLOW_SECONDS,
        watches=0,
    ),
    Scenario(
        "issuer-429",
        "issuer",
        f"The issuer answers 429 with Retry-After {plays.RETRY_AFTER}, while {plays.BUSY} tokens of made-up keys come in {plays.BUSY_SECONDS:g} s.",
        f"Tokens of the known key are accepted; at most {plays.BUSY_REQUESTS} requests reach the issuer.",
        "Retry-After says how long to wait (RFC 9110, section 10.2.3); one request a second is allowed all the same.",
        plays.issuer_429,
        (
            requests_at_most(UNKNOWN, plays.BUSY_REQUESTS, plays.BUSY_SECONDS),
            retry_after_obeyed(plays.RETRY_AFTER),
            stays_accepted(KNOWN),
            never_accepted(UNKNOWN, silent="note"),
            tells_no_errors(UNKNOWN),
        ),
        seconds=plays.BUSY_SECONDS,
        watches=0,
    ),
    Scenario(
        "unknown-kid-flood",
        "issuer",
        f"{plays.FLOOD} tokens, each of another made-up key, in {plays.FLOOD_SECONDS:g} s.",
        f"At most {plays.FLOOD_REQUESTS} requests reach the issuer, one a second; tokens of the known key are accepted.",
        "Anybody can make up a kid, so it must not be worth a request each time.",
        plays.unknown_kid_flood,
        (
            requests_at_most(UNKNOWN, plays.FLOOD_REQUESTS, plays.FLOOD_SECONDS),
            stays_accepted(KNOWN),
            never_accepted(UNKNOWN, silent="note"),
            tells_no_errors(UNKNOWN),
        ),
        seconds=plays.FLOOD_SECONDS,
        watches=0,
    ),
    Scenario(
        "key-removed",
        "security",
        "The key is removed from the set and another one signs; the removed key's tokens are sent on.",
        "The time until they are refused is measured; longer than what is watched is a note, never a failure.",
        "Policies differ: absence is not revocation, and issuers drop keys by mistake. In an emergency this time is what counts.",
        plays.key_removed,
        (ends_accepted(REMOVED),),
        watches=2,
    ),
    Scenario(
        "bad-tokens",
        "security",
        "Every bad token of the catalogue: wrong algorithms, signatures, claims, encodings, headers.",
        "None is accepted; those that only a strict service refuses are a note.",
        "A standard says so, or the signature is simply wrong.",
        plays.bad_tokens,
        (
            never_accepted(BAD),
            never_accepted(STRICTER, level="note", silent="note", told="accepted, about which validators differ"),
            tells_no_errors(BAD),
            tells_no_errors(STRICTER),
            stays_accepted(KNOWN),
        ),
        refresh=False,
        seconds=2.0,
        watches=0,
    ),
    Scenario(
        "broken-keys",
        "availability",
        f"A set of {plays.KEYS} keys, most of which nobody can use: unknown types, missing numbers, rubbish, too short, a symmetric one.",
        "The broken ones are left out, the good ones are used.",
        "Keys that cannot be used should be ignored (RFC 7517, section 5).",
        plays.broken_keys,
        (set_was_taken(TRIGGER), stays_accepted(KNOWN), _twin),
        prepare=plays.prepare_broken_keys,
    ),
    Scenario(
        "bad-keys",
        "security",
        "Keys that no issuer should publish: 1024 bits, a trivial exponent, a point of small order; and tokens that rely on them.",
        "None of those tokens is accepted; good ones are.",
        "RSA keys shorter than 2048 bits must not be used (RFC 7518, section 3.3), and the others prove nothing.",
        plays.bad_keys,
        (
            set_was_taken(TRIGGER),
            never_accepted(BAD),
            never_accepted(STRICTER, level="note", silent="note", told="accepted, about which validators differ"),
            tells_no_errors(BAD),
            stays_accepted(KNOWN),
        ),
        prepare=plays.prepare_bad_keys,
    ),
    Scenario(
        "kid-reused",
        "availability",
        "Another key of the same algorithm stands under the kid of the old one from one instant to the next.",
        "The new key's tokens are accepted; whether the old material still is, is the service's policy.",
        "Issuers should choose distinct kids (RFC 7517, section 4.5), and some that are restored or installed anew do not.",
        plays.kid_reused,
        (becomes_accepted(NEW),),
        seconds=1.0,
        watches=2,
    ),
)
"""Every scenario, in the order of play (3)."""


def chosen(names: Iterable[str]) -> tuple[Scenario, ...]:
    """Return the scenarios of these names in the order of play, and the first one with them; all of them if no name is given.

    Raises:
        ConfigurationError: There is no scenario of a name.
    """
    wanted = set(names)
    unknown = sorted(wanted - {scenario.name for scenario in SCENARIOS})
    if unknown:
        raise ConfigurationError(f"there is no scenario {quoted(unknown[0])} (setting: --only)", hint="`keyturn drill --list` names them.")
    return tuple(scenario for scenario in SCENARIOS if not wanted or scenario.name in wanted | {BASELINE})
