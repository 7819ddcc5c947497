"""Revocations only ever gain, and a thumbprint has one form (R11)."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import ConfigurationError, Revocation
from keyturn._core.revocation import merged, normal_thumbprint

ENTRIES = st.lists(
    st.builds(
        Revocation, st.sampled_from(["thumbprint", "kid"]), st.sampled_from(["a", "b"]), st.integers(0, 3), st.sampled_from(["revoked", "reinstated"])
    ),
    max_size=6,
)


def winner(*entries: Revocation) -> str:
    """Return what holds after *entries*."""
    (state,) = {entry.state for entry in merged({}, entries).values()}
    return state


def test_the_highest_sequence_wins() -> None:
    """In whatever order the entries come (2)."""
    old, new = Revocation("thumbprint", "a", 1, "revoked"), Revocation("thumbprint", "a", 2, "reinstated")
    assert "reinstated" == winner(old, new) == winner(new, old)


def test_of_two_equal_sequences_the_revocation_wins() -> None:
    """Doubt refuses (2)."""
    revoked, reinstated = Revocation("kid", "a", 1, "revoked"), Revocation("kid", "a", 1, "reinstated")
    assert "revoked" == winner(revoked, reinstated) == winner(reinstated, revoked)


def test_subjects_do_not_mix() -> None:
    """A kid that reads like a thumbprint is another subject (1)."""
    entries = [Revocation("kid", "a", 1, "revoked"), Revocation("thumbprint", "a", 2, "reinstated"), Revocation("kid", "b", 1, "reinstated")]
    assert {("kid", "a"), ("thumbprint", "a"), ("kid", "b")} == set(merged({}, entries))


@given(ENTRIES)
def test_order_and_repetition_mean_nothing(entries: list[Revocation]) -> None:
    """Any two views merge to the same, so a fleet agrees whatever came first."""
    at_once = merged({}, entries)
    assert at_once == merged({}, reversed(entries)) == merged(merged({}, entries[:3]), entries) == merged({}, [*entries, *entries])
    for half in range(len(entries)):
        assert at_once == merged(merged({}, entries[half:]), merged({}, entries[:half]).values())


@given(ENTRIES, ENTRIES)
def test_what_holds_is_never_lowered(known: list[Revocation], more: list[Revocation]) -> None:
    """No entry makes the sequence of a subject smaller, and no subject is lost (3)."""
    before = merged({}, known)
    after = merged(before, more)
    assert all(after[subject].sequence >= entry.sequence for subject, entry in before.items())


def test_nothing_new_is_the_same_object() -> None:
    """Whoever keeps the result can tell that nothing changed by identity."""
    entry = Revocation("kid", "a", 2, "revoked")
    known = merged({}, [entry])
    assert known is merged(known, []) is merged(known, [entry, Revocation("kid", "a", 1, "reinstated")])
    assert known is not merged(known, [Revocation("kid", "a", 3, "reinstated")])


@given(st.sampled_from([20, 32]).flatmap(lambda length: st.binary(min_size=length, max_size=length)))
def test_every_spelling_has_one_form(digest: bytes) -> None:
    """Base64url and hex in either case, with blanks, colons and the invisible mark of certificate dialogs."""
    plain = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    pairs = digest.hex(":")
    for spelled in (plain, f" {plain}\n", digest.hex(), digest.hex().upper(), pairs, pairs.upper(), pairs.replace(":", " "), f"\u200e{digest.hex()}"):
        assert plain == normal_thumbprint(spelled)
    assert plain == normal_thumbprint(normal_thumbprint(plain))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k1",
        "A" * 26,
        "A" * 28,
        "A" * 42,
        "A" * 44,
        "a" * 39,
        "a" * 41,
        "a" * 63,
        "a" * 65,
        "g" * 40,
        "g" * 64,
        "A" * 26 + "=",
        "A" * 26 + "+",
        "A" * 26 + "B",
        "A" * 42 + "B",
        None,
        1,
        b"A" * 27,
        ["A" * 27],
        "\u0661" * 40,
    ],
)
def test_anything_else_is_refused(text: object) -> None:
    """A mistyped thumbprint would revoke nothing, in silence."""
    with pytest.raises(ConfigurationError, match="setting: thumbprint"):
        normal_thumbprint(text)


def test_lengths_do_not_overlap() -> None:
    """No text is hex and base64url at once, so that none could name two keys."""
    for first, second in itertools.product((40, 64), (27, 43)):
        assert first != second
    assert "A" * 27 == normal_thumbprint("A" * 27)
    assert normal_thumbprint("A" * 40) != "A" * 40
