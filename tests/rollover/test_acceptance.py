"""What an accepted answer, and time alone, do to the keys that are held: pure, on instants of the test."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.rollover.helpers import CLOCKS, DAY, DEFAULTS, HOUR, NAME, START, TICK, after, only, published

from keyturn import Event, KeyDropped, KeyName, KeyReplaced, KeyReturned, KeySet, KeySetChanged, KeyVanished, RolloverPolicy, SigningKey
from keyturn._core import acceptance
from keyturn._core.acceptance import accept, drop_expired, grace_until
from keyturn._core.rollover import begin
from keyturn._core.state import Answer, Failure, KeySetState
from keyturn.clock import Instant
from keyturn.testing import FakeIssuer

COLD = KeySetState(NAME, DAY, DAY)


class Reader:
    """A state that follows an issuer's answers, and the events of the last step."""

    def __init__(self, issuer: FakeIssuer, policy: RolloverPolicy = DEFAULTS) -> None:
        self.issuer, self.policy = issuer, policy
        self.state = COLD
        self.events: list[Event] = []
        self.read(START)

    def read(self, now: Instant, *, asked_at: Instant | None = None, draw: float = 0.0, max_age: float | None = None) -> KeySetState:
        """Take the set that is published now."""
        answer = Answer(published(self.issuer), asked_at or now, max_age)
        self.state, self.events = accept(self.state, self.policy, now, answer, draw)
        return self.state

    def wait(self, now: Instant) -> KeySetState:
        """Let time pass."""
        self.state, self.events = drop_expired(self.state, self.policy, now)
        return self.state

    def held(self) -> set[str | None]:
        """Return the kids that are held."""
        return {key.kid for key in self.state.held.keys}


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer with the key k1."""
    return FakeIssuer(NAME)


def names(*keys: SigningKey) -> tuple[KeyName, ...]:
    """Return how events name *keys*."""
    return tuple(KeyName(key.kid, key.thumbprint) for key in keys)


def gone(reader: Reader, kid: str) -> Instant:
    """Return when the first answer without *kid* was asked for."""
    (vanished,) = (vanished for vanished in reader.state.vanished.values() if vanished.key.kid == kid)
    return vanished.missed_at


def test_the_first_answer(issuer: FakeIssuer) -> None:
    """Every published key is held from the first answer on, in one step (R1)."""
    issuer.publish("k2")
    reader = Reader(issuer)
    k1, k2 = (only(published(issuer), kid) for kid in ("k1", "k2"))
    assert reader.held() == {"k1", "k2"}
    assert (reader.state.asked_at, reader.state.generation) == (START, 1)
    assert reader.state.first_seen == {k1.name: START.wall, k2.name: START.wall}
    (changed,) = reader.events
    assert isinstance(changed, KeySetChanged)
    assert (changed.issuer, changed.at, changed.generation) == (NAME, START.wall, 1)
    assert (set(changed.added), changed.removed, changed.replaced, changed.nothing_in_common) == (set(names(k1, k2)), (), (), False)


def test_success_ends_the_attempt_and_every_mark_of_failure(issuer: FakeIssuer) -> None:
    """A success sets the backoff to nothing and is stamped with the start of its refresh (R8, B6); the allowance stays as it was."""
    reader = Reader(issuer)
    failed = replace(reader.state, failures=5, failed_at=START, pause=16.0, failure=Failure("fetch_failed", "", "", NAME), demanded_at=START)
    began, now = after(START, 90), after(START, 93)
    reader.state = begin(failed, began, "retry")
    state = reader.read(now, asked_at=after(START, 91))
    assert (state.attempt, state.attempted_at, state.asked_at) == (None, began, after(START, 91))
    assert (state.failures, state.failed_at, state.pause, state.failure) == (0, None, 0.0, None)
    assert state.demanded_at == START


def test_the_allowance_counts_from_the_start_of_its_refresh(issuer: FakeIssuer) -> None:
    """B5: a look-up that took its time is stamped with its beginning, not with its end (M11)."""
    reader = Reader(issuer)
    reader.state = begin(reader.state, after(START, 90), "unknown_key")
    assert reader.read(after(START, 94)).demanded_at == after(START, 90)


def test_the_same_answer_changes_nothing_but_its_age(issuer: FakeIssuer) -> None:
    """An equal set, in whatever order, raises no generation and tells nothing (R2)."""
    issuer.publish("k2")
    reader = Reader(issuer)
    first = reader.state
    issuer.shuffle(3)
    later = after(START, DAY)
    assert reader.read(later) == replace(first, asked_at=later)
    assert reader.events == []
    assert reader.state.current is first.current


def test_an_answer_that_was_asked_for_earlier(issuer: FakeIssuer) -> None:
    """F29: it never replaces one that was asked for later; asked for at the same instant it does."""
    reader = Reader(issuer)
    before = reader.state
    issuer.cut_over("k2")
    state = reader.read(after(START, 5), asked_at=after(START, -TICK))
    assert (state, reader.events) == (before, [])
    reader.read(after(START, 5), asked_at=START)
    assert reader.held() == {"k1", "k2"}


@pytest.mark.parametrize(
    ("follow", "max_age", "interval"), [(True, 0.0, 300.0), (True, 1e9, DAY), (True, None, DAY), (True, 300.0, 300.0), (False, 0.0, DAY)]
)
def test_cache_control(issuer: FakeIssuer, follow: bool, max_age: float | None, interval: float) -> None:
    """Followed only if asked and within bounds (B21 has the instants), and the line follows the interval (R3)."""
    state = Reader(issuer, RolloverPolicy(follow_cache_control=follow)).read(START, max_age=max_age, draw=1.0)
    assert (state.interval, state.line) == (interval, pytest.approx(0.9 * interval))


def test_cache_control_of_a_short_schedule(issuer: FakeIssuer) -> None:
    """An interval below 300 s is its own lower bound."""
    reader = Reader(issuer, RolloverPolicy(follow_cache_control=True, refresh_interval=120))
    assert reader.read(START, max_age=0.0).interval == 120.0
    assert reader.read(START, max_age=600.0).interval == 120.0


def test_a_key_vanishes(issuer: FakeIssuer) -> None:
    """F50: it serves on for its grace beside its successor, and a set with nothing in common is accepted and reported (R10, R12)."""
    reader = Reader(issuer)
    k1 = only(reader.state.held, "k1")
    issuer.cut_over("k2")
    now = after(START, DAY)
    reader.read(now)
    k2 = only(published(issuer), "k2")
    assert reader.held() == {"k1", "k2"}
    changed, vanished = reader.events
    assert isinstance(changed, KeySetChanged)
    assert (changed.generation, changed.added, changed.removed, changed.nothing_in_common) == (2, names(k2), names(k1), True)
    assert vanished == KeyVanished(issuer=NAME, at=now.wall, kid="k1", thumbprint=k1.thumbprint, until=now.wall + 7_200)


def test_ten_keys_to_one(issuer: FakeIssuer) -> None:
    """F45: a set that shrinks is accepted; the nine others have their grace each."""
    for number in range(2, 11):
        issuer.publish(f"k{number}")
    reader = Reader(issuer)
    for number in range(2, 11):
        issuer.retire(f"k{number}")
    reader.read(after(START, DAY))
    assert len(reader.held()) == 10
    assert [type(event) for event in reader.events] == [KeySetChanged, *[KeyVanished] * 9]
    assert isinstance(reader.events[0], KeySetChanged)
    assert not reader.events[0].nothing_in_common


@pytest.mark.parametrize("clocks", CLOCKS)
def test_end_of_the_grace(issuer: FakeIssuer, clocks: str) -> None:
    """Gone `removed_key_grace` after the first answer without it, by either clock, and told once (R10)."""
    issuer.publish("k2")
    reader = Reader(issuer)
    k1 = only(reader.state.held, "k1")
    issuer.retire("k1")
    reader.read(after(START, 100))
    at = after(after(START, 100), 7_200, clocks)
    before = reader.state
    assert reader.wait(after(at, -TICK)) is before
    assert reader.held() == {"k1", "k2"}
    assert reader.wait(at).generation == before.generation + 1
    assert reader.held() == {"k2"}
    assert reader.events == [KeyDropped(issuer=NAME, at=at.wall, kid="k1", thumbprint=k1.thumbprint)]
    assert reader.wait(after(at, TICK)).vanished == {}
    assert reader.events == []


@pytest.mark.parametrize("changing", [False, True])
def test_more_answers_do_not_restart_the_grace(issuer: FakeIssuer, changing: bool) -> None:
    """Z3: the grace counts from the first answer that lacks the key, whatever else changes, and ends with an answer as well."""
    issuer.publish("k2")
    reader = Reader(issuer)
    issuer.retire("k1")
    first = after(START, 100)
    for number, seconds in enumerate((0, 3_600, 7_200 - TICK)):
        if changing:
            issuer.publish(f"new-{number}")
        reader.read(after(first, seconds))
        assert gone(reader, "k1") == first
        assert reader.held() >= {"k1", "k2"}
    reader.read(after(first, 7_200))
    assert "k1" not in reader.held()
    assert [type(event) for event in reader.events] == [KeyDropped]


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize(("idle", "left"), [(DAY, 7_200.0), (DAY + TICK, 7_200.0 - TICK), (DAY + 7_200 - 1, 1.0)])
def test_an_idle_process_does_not_stretch_the_grace(issuer: FakeIssuer, idle: float, left: float, clocks: str) -> None:
    """R10's second bound: never longer than `refresh_interval + removed_key_grace` after the key was last seen published."""
    reader = Reader(issuer)
    issuer.cut_over("k2")
    now = after(START, idle, clocks)
    reader.read(now)
    (vanished,) = reader.state.vanished.values()
    assert (vanished.seen_at, vanished.missed_at) == (START, now)
    assert grace_until(vanished, DEFAULTS, now) == now.wall + left
    reader.wait(after(now, left - TICK))
    assert reader.held() == {"k1", "k2"}
    reader.wait(after(now, left))
    assert reader.held() == {"k2"}


def test_idle_for_longer_than_the_grace(issuer: FakeIssuer) -> None:
    """A key that was last seen 26 h ago has no grace left when it is missed (R10)."""
    reader = Reader(issuer)
    issuer.cut_over("k2")
    reader.read(after(START, DAY + 7_200))
    assert reader.held() == {"k2"}
    assert [type(event) for event in reader.events] == [KeySetChanged, KeyVanished, KeyDropped]


def test_a_key_returns(issuer: FakeIssuer) -> None:
    """Seen again, it is an ordinary key (Z3): reported, without an end, and its next grace is a whole one."""
    issuer.publish("k2")
    reader = Reader(issuer)
    k1 = only(reader.state.held, "k1")
    issuer.withhold("k1")
    reader.read(after(START, 100))
    issuer.restore("k1")
    reader.read(after(START, 4_000))
    assert reader.state.vanished == {}
    assert reader.events[1:] == [KeyReturned(issuer=NAME, at=START.wall + 4_000, kid="k1", thumbprint=k1.thumbprint)]
    issuer.withhold("k1")
    reader.read(after(START, 5_000))
    assert gone(reader, "k1") == after(START, 5_000)
    reader.wait(after(START, 5_000 + 7_200 - TICK))
    assert reader.held() == {"k1", "k2"}


def test_a_key_returns_after_its_grace(issuer: FakeIssuer) -> None:
    """F52: what was gone is back once it is published again, and is told from a new key."""
    issuer.publish("k2")
    reader = Reader(issuer)
    issuer.withhold("k1")
    reader.read(after(START, 100))
    reader.wait(after(START, 100 + 7_200))
    issuer.restore("k1")
    issuer.publish("k3")
    reader.read(after(START, 9_000))
    assert reader.held() == {"k1", "k2", "k3"}
    assert [event.kid for event in reader.events if isinstance(event, KeyReturned)] == ["k1"]
    assert reader.state.first_seen[only(reader.state.held, "k1").name] == START.wall


def test_new_material_under_a_kid(issuer: FakeIssuer) -> None:
    """F44: a new key, reported as such; the old material is a vanished key with its grace (R12)."""
    reader = Reader(issuer)
    old = only(reader.state.held, "k1")
    issuer.replace_material("k1")
    reader.read(after(START, 100))
    new = only(published(issuer), "k1")
    assert {key.name for key in reader.state.held.keys} == {old.name, new.name}
    changed, vanished, replaced = reader.events
    assert isinstance(changed, KeySetChanged)
    assert (changed.added, changed.removed, changed.replaced) == (names(new), names(old), names(new))
    assert isinstance(vanished, KeyVanished)
    assert vanished.thumbprint == old.thumbprint
    assert replaced == KeyReplaced(issuer=NAME, at=START.wall + 100, kid="k1", thumbprint=new.thumbprint, previous_thumbprint=old.thumbprint)
    reader.wait(after(START, 100 + 7_200))
    assert [key.name for key in reader.state.held.keys] == [new.name]


def test_a_set_that_was_too_old_leaves_nothing_behind(issuer: FakeIssuer) -> None:
    """What vouched for nobody any more gives no grace (R9); one instant earlier it does."""
    reader = Reader(issuer, RolloverPolicy(removed_key_grace=5 * DAY))
    earlier = replace(reader.state)
    issuer.cut_over("k2")
    reader.read(after(START, 2 * DAY))
    assert reader.held() == {"k2"}
    reader.state = earlier
    reader.read(after(START, 2 * DAY - TICK))
    assert reader.held() == {"k1", "k2"}


def test_the_same_set_after_it_was_too_old(issuer: FakeIssuer) -> None:
    """It is in force again, as a new generation, and no key of it is told as new or returned."""
    reader = Reader(issuer)
    reader.read(after(START, 2 * DAY))
    assert (reader.held(), reader.state.generation, reader.events) == ({"k1"}, 2, [])


def test_an_entry_that_changes_what_its_key_is_for(issuer: FakeIssuer) -> None:
    """Same kid and material under other members: the new entry counts, and nothing vanished."""
    reader = Reader(issuer)
    jwk = issuer.jwks()["keys"][0]
    before = only(reader.state.held, "k1")
    answer = Answer(KeySet.from_jwks({"keys": [{**jwk, "issuer": NAME}]}), after(START, 1))
    state, events = accept(reader.state, DEFAULTS, after(START, 1), answer, 0.0)
    (key,) = state.held.keys
    assert (key.name, key.issuer, before.issuer) == (before.name, NAME, None)
    (changed,) = events
    assert isinstance(changed, KeySetChanged)
    assert (changed.added, changed.removed, changed.nothing_in_common) == ((), (), False)


def test_skipped_entries_are_told(issuer: FakeIssuer) -> None:
    """F35: a broken entry takes no good key along, is told with its reason, and stays in sight while a key vanishes (R1)."""
    issuer.add_entry({"kty": "oct", "k": "c2VjcmV0", "kid": "s1"})
    issuer.add_entry(None)
    reader = Reader(issuer)
    assert reader.held() == {"k1"}
    (changed,) = reader.events
    assert isinstance(changed, KeySetChanged)
    assert {kid for kid, _ in changed.skipped} == {"s1", None}
    assert all(reason for _, reason in changed.skipped)
    issuer.publish("k2")
    issuer.withhold("k1")
    assert {entry.kid for entry in reader.read(after(START, 1)).held.skipped} == {"s1", ""}


def test_two_keys_of_one_kid_are_told(issuer: FakeIssuer) -> None:
    """F37: both are held, and the kid is named as ambiguous."""
    issuer.publish("other", kid="k1")
    reader = Reader(issuer)
    assert [key.kid for key in reader.state.held.keys] == ["k1", "k1"]
    (changed,) = reader.events
    assert isinstance(changed, KeySetChanged)
    assert changed.ambiguous == ("k1",)


def test_what_is_remembered_of_past_keys_is_bounded(issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sight of past keys leaves in the order of their coming; that of published ones never does."""
    monkeypatch.setattr(acceptance, "MOST_REMEMBERED", 3)
    reader = Reader(issuer)
    for number in range(2, 7):
        issuer.publish(f"k{number}")
        if number > 2:
            issuer.retire(f"k{number - 1}")
        reader.read(after(START, number * HOUR))
    assert {kid for kid, _ in reader.state.first_seen} == {"k1", "k5", "k6"}
    assert reader.state.first_seen[only(reader.state.held, "k1").name] == START.wall
