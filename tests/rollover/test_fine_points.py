"""What the larger tables leave out: each row stands for a change of the rules that no other test noticed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.rollover.helpers import DAY, DEFAULTS, NAME, START, after, only, published

from keyturn import KeyReplaced, KeyRevoked, KeySet, Revocation, RolloverPolicy
from keyturn._core.acceptance import accept
from keyturn._core.revocation import Revocations, merged
from keyturn._core.revoking import reinstate, resolve, revoke, take_in
from keyturn._core.rollover import begin, look_again
from keyturn._core.state import Answer, KeySetState, VanishedKey, with_keys
from keyturn.clock import Instant
from keyturn.testing import FakeIssuer

COLD = KeySetState(NAME, DAY, DAY)
GONE = only(published(FakeIssuer(kid="k9")), "k9")
T, U = "T" * 43, "U" * 43


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer with the keys k1 and k2."""
    made = FakeIssuer(NAME)
    made.publish("k2")
    return made


def answered(state: KeySetState, issuer: FakeIssuer, now: Instant = START, policy: RolloverPolicy = DEFAULTS) -> tuple[KeySetState, list[Any]]:
    """Take what is published at *now*."""
    return accept(state, policy, now, Answer(published(issuer), now), 0.0)


def known(*entries: Revocation) -> Revocations:
    """Return what is known once *entries* are."""
    return merged({}, entries)


class TestLookingAgain:
    """Until when a held key is served without another decision."""

    @pytest.mark.parametrize("clock", ["monotonic", "wall"])
    @pytest.mark.parametrize("beyond", [0.0, 1.0])
    def test_what_has_passed_on_one_clock_asks_for_no_look(self, clock: str, beyond: float, issuer: FakeIssuer) -> None:
        """The larger age counts, so it flipped already; a look at once, and again at once, would end the lock-free way (R14)."""
        warm = replace(with_keys(COLD, current=published(issuer)), asked_at=START)
        now = after(START, DAY + beyond, clock)
        assert look_again(warm, DEFAULTS, now, 60.0) == now.shifted(60.0)
        # Looked at less often, the next thing to flip is the end of the set, on either clock.
        assert look_again(warm, DEFAULTS, now, 10 * DAY) == after(START, 2 * DAY)

    def test_a_vanished_key_takes_no_earlier_flip_away(self, issuer: FakeIssuer) -> None:
        """The end of its grace comes beside the line and the given time, not in their place."""
        state = replace(with_keys(COLD, current=published(issuer), vanished={GONE.name: VanishedKey(GONE, START, START)}), asked_at=START, line=100.0)
        assert look_again(state, DEFAULTS, START, 60.0) == after(START, 60)
        assert look_again(state, DEFAULTS, START, 1_000.0) == after(START, 100)
        other = only(published(FakeIssuer(kid="k8")), "k8")
        both = {GONE.name: VanishedKey(GONE, after(START, -7_000), START), other.name: VanishedKey(other, START, START)}
        assert look_again(with_keys(state, vanished=both), DEFAULTS, after(START, 150), 10 * DAY) == after(START, 200)


def test_an_attempt_says_why_it_is_made(issuer: FakeIssuer) -> None:
    """Whoever looks at a running refresh learns its reason."""
    begun = begin(COLD, START, "start").attempt
    assert begun is not None
    assert begun.reason == "start"


def test_no_answer_is_infinitely_old() -> None:
    """A state that never had an answer has an age all the same (R9)."""
    assert COLD.age(START) == float("inf")


def test_a_set_that_was_too_old_takes_its_vanished_keys_along(issuer: FakeIssuer) -> None:
    """Their grace may be longer than the life of the set, but what vouched for nobody gives no grace (R9)."""
    policy = RolloverPolicy(removed_key_grace=10 * DAY)
    state, _ = answered(COLD, issuer, START, policy)
    issuer.retire("k1")
    state, _ = answered(state, issuer, after(START, 1), policy)
    assert {key.kid for key in state.held.keys} == {"k1", "k2"}
    state, _ = answered(state, issuer, after(START, 1 + 2 * DAY), policy)
    assert {key.kid for key in state.held.keys} == {"k2"}


def test_new_material_for_a_kid_that_vanished_before(issuer: FakeIssuer) -> None:
    """The old key left in one answer, the new one under its kid came in a later one: it is told as replaced (R12, F44)."""
    state, _ = answered(COLD, issuer)
    old = only(published(issuer), "k1").thumbprint
    issuer.promote("k2")
    issuer.retire("k1")
    state, _ = answered(state, issuer, after(START, 1))
    issuer.publish("k1")
    _, events = answered(state, issuer, after(START, 2))
    (told,) = (event for event in events if isinstance(event, KeyReplaced))
    assert (told.kid, told.previous_thumbprint) == ("k1", old)
    assert told.thumbprint == only(published(issuer), "k1").thumbprint != old


class TestReinstating:
    """What is named is taken back, and nothing else (R11)."""

    def test_one_of_two_thumbprints(self) -> None:
        """The other one stays revoked, though nothing more is known of either."""
        state = take_in(COLD, START, [Revocation("thumbprint", T, 1, "revoked"), Revocation("thumbprint", U, 1, "revoked")]).state
        entries = reinstate(state, START, thumbprint=T).entries
        assert [(entry.kind, entry.subject) for entry in entries] == [("thumbprint", T)]

    def test_a_thumbprint_beside_a_kid(self) -> None:
        """A kid that was revoked before any key came is another entry."""
        state = take_in(COLD, START, [Revocation("thumbprint", T, 1, "revoked"), Revocation("kid", "k9", 1, "revoked")]).state
        entries = reinstate(state, START, thumbprint=T).entries
        assert [(entry.kind, entry.subject) for entry in entries] == [("thumbprint", T)]

    def test_one_of_two_kids(self) -> None:
        """A kid is known by its entry's subject, whoever recorded it without its kid."""
        state = take_in(COLD, START, [Revocation("kid", "k8", 1, "revoked"), Revocation("kid", "k9", 1, "revoked")]).state
        entries = reinstate(state, START, kid="k9").entries
        assert [(entry.kind, entry.subject) for entry in entries] == [("kid", "k9")]

    def test_a_kid_that_reads_like_a_thumbprint(self) -> None:
        """Kinds are kept apart: taking back the kid leaves the key of that thumbprint revoked."""
        state = take_in(COLD, START, [Revocation("kid", T, 1, "revoked"), Revocation("thumbprint", T, 1, "revoked", "k1")]).state
        entries = reinstate(state, START, kid=T).entries
        assert [(entry.kind, entry.subject) for entry in entries] == [("kid", T)]


def test_the_empty_kid_is_a_name() -> None:
    """Revoking it before any key has it names it as it is, and the first key under it is refused (R11)."""
    (entry,) = revoke(COLD, START, kid="").entries
    assert (entry.kind, entry.subject) == ("kid", "")


def test_a_name_that_is_closed_says_whose_it_was(issuer: FakeIssuer) -> None:
    """The first key of a revoked kid gets an entry of its own, and the entry that closes the name keeps its kid."""
    state = revoke(COLD, START, kid="k1").state
    state, _ = answered(state, issuer)
    opened, closed = resolve(state, START).entries
    assert (opened.kind, opened.state, opened.kid) == ("thumbprint", "revoked", "k1")
    assert (closed.kind, closed.subject, closed.state, closed.kid) == ("kid", "k1", "reinstated", "k1")


CLOSED = Revocation("kid", "k1", 5, "reinstated", "k1")


class TestTelling:
    """What an operator is told of entries that come out of a store."""

    @pytest.mark.parametrize(
        ("entries", "told"),
        [
            ([Revocation("thumbprint", T, 5, "revoked", "k1"), CLOSED], [("k1", T, "revoked")]),
            ([CLOSED], [("k1", None, "reinstated")]),
            ([Revocation("thumbprint", T, 5, "revoked", "k2"), CLOSED], [("k2", T, "revoked"), ("k1", None, "reinstated")]),
            ([Revocation("thumbprint", T, 5, "reinstated", "k1"), CLOSED], [("k1", T, "reinstated"), ("k1", None, "reinstated")]),
            ([Revocation("kid", "k1", 5, "revoked")], [("k1", None, "revoked")]),
            (
                [Revocation("thumbprint", T, 5, "revoked", "k1"), Revocation("kid", "k1", 5, "revoked")],
                [("k1", T, "revoked"), ("k1", None, "revoked")],
            ),
            (
                [Revocation("thumbprint", T, 5, "revoked", "k1"), Revocation("thumbprint", U, 5, "reinstated", "k1")],
                [("k1", T, "revoked"), ("k1", U, "reinstated")],
            ),
            (
                [Revocation("kid", "k2", 5, "revoked", "k1"), CLOSED],
                [("k2", None, "revoked"), ("k1", None, "reinstated")],
            ),
        ],
        ids=[
            "closed by its key",
            "taken back",
            "beside the key of another kid",
            "with a key that was taken back",
            "a kid alone",
            "both revoked",
            "another key of the kid",
            "beside another kid",
        ],
    )
    def test_a_name_that_was_closed_is_not_told_as_taken_back(self, entries: list[Revocation], told: list[tuple[str, str | None, str]]) -> None:
        """Only where a key of that kid is revoked in its place; anything else that was taken back is told as such."""
        events = take_in(COLD, START, entries).events
        assert told == [(event.kid, event.thumbprint, event.state) for event in events if isinstance(event, KeyRevoked)]
        assert {(NAME, START.wall)} == {(event.issuer, event.at) for event in events}


def test_an_equal_entry_does_not_win() -> None:
    """What has the same rank changes nothing, not even the kid that was noted beside it."""
    held = known(Revocation("thumbprint", T, 5, "revoked", "k1"))
    assert merged(held, [Revocation("thumbprint", T, 5, "revoked", "other")]) is held


def test_an_empty_set_of_revocations_resolves_to_itself() -> None:
    """Nothing was revoked, so nothing has to be given an entry."""
    state = with_keys(COLD, current=KeySet())
    assert resolve(state, START).state is state
