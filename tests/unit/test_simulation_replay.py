"""The replay comes to what the rules say, worked out by hand, and passes over nothing that matters.

Every replay here starts with a fresh answer and draws zeros, unless it says otherwise: no jitter, and the shortest pause after a failure.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.histories import HOUR, MINUTE, START, document, history, moment

from keyturn._core.policy import RolloverPolicy
from keyturn.simulation.figures import Figures, figures_of, replay_of, spreads
from keyturn.simulation.history import History, parse_history
from keyturn.simulation.policies import NAMED
from keyturn.simulation.replay import Replay, Span, Verdict, _VirtualClock
from keyturn.simulation.synthetic import SYNTHETIC, synthetic_history

DEFAULT = RolloverPolicy()
POLICIES = [DEFAULT, RolloverPolicy.strict(), RolloverPolicy(refresh_interval=3_600.0, removed_key_grace=1_800.0)]


def played(history: History, policy: RolloverPolicy = DEFAULT) -> tuple[Figures, Replay]:
    """Return the figures of a replay, and the replay."""
    replay = Replay(history, policy)
    return figures_of(replay, history), replay


def fetched(replay: Replay) -> list[tuple[float, str]]:
    """Return minute and reason of each request."""
    return [((fetch.at - START) / MINUTE, fetch.reason) for fetch in replay.fetches]


def test_a_gap_between_two_refreshes_is_not_noticed() -> None:
    """Keys of the set that was read serve on; the schedule alone asks (R3, R7)."""
    figures, replay = played(history((0, "ab"), (10, "a"), (11, "ab"), (48, "ab")))
    assert [(1_440, "schedule")] == fetched(replay)
    assert Figures(5_760, 0, 0.0, 0.0, 0.0, 0, 0.0, None, 0.5, 1) == figures


def test_a_gap_that_is_noticed_costs_what_exceeds_the_grace() -> None:
    """The key serves for its grace of an hour, is asked for at 0, 5, 15, 30 and 45 minutes, then refused until a look-up finds it (R10, R13)."""
    gap = history((0, "ab"), (23, "a"), (25.5, "ab"), (48, "ab"))
    figures, replay = played(gap, RolloverPolicy(removed_key_grace=3_600.0))
    day = 24 * 60.0
    in_grace = [(day + minute, "vanished_key") for minute in (0, 5, 15, 30, 45)]
    after_it = [(day + 60 + minute, "unknown_key") for minute in (0, 5, 15, 30)]
    assert [(day, "schedule"), *in_grace, *after_it] == fetched(replay)
    assert Figures(5_760, 30, 30 / 5_760, 1_800.0, 1_800.0, 0, 0.0, None, 5.0, 10) == figures


def test_a_removed_key_is_trusted_until_schedule_and_grace_are_over() -> None:
    """Removed an hour after the last answer: noticed after 23 hours more, trusted for 2 more, and no longer (R10)."""
    figures, _ = played(history((0, "ab"), (1, "a"), (48, "a")))
    assert 25 * HOUR - MINUTE == figures.longest_trust
    assert figures.longest_trust < DEFAULT.longest_trust_after_removal


def test_a_removed_key_is_not_trusted_after_a_refresh_without_grace() -> None:
    """`strict()` notices within five minutes and gives no grace."""
    figures, _ = played(history((0, "ab"), (1 + 1 / 60, "a"), (3, "a")), RolloverPolicy.strict())
    assert 3 * MINUTE == figures.longest_trust


def test_a_new_key_that_signs_at_once_is_accepted_at_once() -> None:
    """Nothing had spent the allowance, so a cut-over without overlap costs nothing (R4, R5); the old key has its grace (R10)."""
    figures, replay = played(history((0, "a"), (10, "b"), (20, "b")))
    assert [(600, "unknown_key")] == fetched(replay)
    assert (0, 2 * HOUR - MINUTE) == (figures.refused, figures.longest_trust)


def test_a_new_key_waits_for_the_allowance_if_it_was_just_spent() -> None:
    """A vanished key asked at 24:05; a key that appears at 24:06 is refused until 24:10 (R5)."""
    cut = history((0, "ax"), (23, "a"), (24.1, "n"), (30, "nx"), (31, "nx"))
    figures, replay = played(cut, RolloverPolicy(removed_key_grace=12 * HOUR))
    day = 24 * 60.0
    assert [(day, "schedule"), (day, "vanished_key"), (day + 5, "vanished_key"), (day + 10, "unknown_key")] == fetched(replay)[:4]
    assert (4, 4 * MINUTE) == (figures.refused, figures.longest_refusal)
    assert figures.longest_refusal <= DEFAULT.longest_wait_for_new_key


def test_an_outage_is_503_once_the_keys_are_too_old_and_never_401() -> None:
    """Keys serve for 48 hours after the last good answer, then nobody knows until the issuer is back (R8, R9)."""
    down = history((0, "a"), (60, "a"), outages=[[moment(23), moment(50), 503]])
    figures, replay = played(down)
    assert (0, 120, 2 * HOUR) == (figures.refused, figures.unavailable, figures.unavailable_seconds)
    assert Counter({False: 26 * 60, True: 1}) == Counter(fetch.succeeded for fetch in replay.fetches)
    assert (50 * 60, "start") == fetched(replay)[-1]


def test_an_empty_set_is_a_failed_refresh() -> None:
    """It changes nothing: the old keys serve on (R12)."""
    figures, replay = played(history((0, "a"), (23, ""), (25, "a"), (30, "a")))
    assert (0, 0) == (figures.refused, figures.unavailable)
    assert Counter({False: 60, True: 1}) == Counter(fetch.succeeded for fetch in replay.fetches)


def test_a_client_that_starts_into_an_empty_set_has_no_keys() -> None:
    """Without any key every answer is a 503, and the first good set ends it (R9)."""
    figures, _ = played(history((0, ""), (1, "a"), (2, "a")))
    assert (60, 0, 0) == (figures.tokens, figures.refused, figures.unavailable)


def test_the_phase_moves_the_schedule() -> None:
    """A client whose last answer was six hours old when the history began asks after eighteen hours."""
    calm = history((0, "a"), (48, "a"))
    replay = Replay(calm, DEFAULT, phase=0.25)
    figures_of(replay, calm)
    assert [(18 * 60, "schedule"), (42 * 60, "schedule")] == fetched(replay)


def test_the_draw_moves_the_line() -> None:
    """The largest jitter lets the process ask a tenth of the interval earlier (R3)."""
    calm = history((0, "a"), (47, "a"))
    replay = Replay(calm, DEFAULT, draw=lambda: 1.0)
    figures_of(replay, calm)
    assert [(1_296, "schedule"), (2_592, "schedule")] == fetched(replay)


def test_what_happened_has_no_gap_and_no_overlap() -> None:
    """The spans follow one another from the first step to the last."""
    flapping = synthetic_history("flapping-replicas", 3)
    replay = replay_of(flapping, DEFAULT, step=90.0)
    following, steps = flapping.start, 0
    for span in replay.spans():
        assert following == span.start
        steps += span.steps
        following = flapping.start + steps * 90.0
    assert flapping.end <= following < flapping.end + 90.0


class Patient(Replay):
    """A replay that looks at every step."""

    def _following(self, number: int, verdicts: Mapping[str, Verdict], in_grace: frozenset[str]) -> int:
        return number + 1


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Return a history of three days at most, with gaps, removals and outages at any minute."""
    minutes = sorted(draw(st.sets(st.integers(1, 4_319), min_size=1, max_size=8)))
    sets = [frozenset(draw(st.sets(st.sampled_from("abc"), min_size=1))) for _ in range(len(minutes) + 1)]
    rows = [(minute / 60, "".join(sorted(kids))) for minute, kids in zip([0, *minutes], sets, strict=True)]
    end = minutes[-1]
    cut = sorted(draw(st.sets(st.integers(0, end), min_size=2, max_size=2)))
    outages = [[moment(cut[0] / 60), moment(cut[1] / 60), 503]] if draw(st.booleans()) else []
    return history(*rows, outages=outages)


@settings(deadline=None, max_examples=20)
@given(histories(), st.sampled_from(POLICIES), st.integers(0, 9))
def test_passing_steps_over_changes_nothing(drawn: History, policy: RolloverPolicy, seed: int) -> None:
    """A replay that looks at every step comes to the same figures and the same requests."""
    policy = replace(policy, max_stale=min(policy.max_stale, 4 * HOUR))
    quick, patient = (kind(drawn, policy, step=300.0, phase=0.5, draw=random.Random(seed).random) for kind in (Replay, Patient))
    assert figures_of(patient, drawn) == figures_of(quick, drawn)
    assert patient.fetches == quick.fetches


@settings(deadline=None, max_examples=10)
@given(st.data(), histories(), st.sampled_from(POLICIES))
def test_the_order_of_key_ids_changes_nothing(data: st.DataObject, drawn: History, policy: RolloverPolicy) -> None:
    """However an issuer orders its set, every figure stays (R2)."""
    shuffled = {
        "observations": [
            {"time": moment((observation.time - START) / HOUR), "kids": data.draw(st.permutations(sorted(observation.kids)))}
            for observation in drawn.observations
        ]
    }
    sorted_one = document(*(((each.time - START) / HOUR, "".join(sorted(each.kids))) for each in drawn.observations))
    first, second = (parse_history(json.dumps(each).encode(), "test") for each in (sorted_one, shuffled))
    assert figures_of(replay_of(first, policy), first) == figures_of(replay_of(second, policy), second)


@pytest.mark.parametrize(("name", "seed"), [("default", 1), ("default", 2), ("entra", 3), ("strict", 1)])
def test_a_planned_rollover_refuses_nobody(name: str, seed: int) -> None:
    """A key that is published before it signs, and stays until its tokens are gone, costs nothing under any named policy."""
    planned = synthetic_history("planned", seed)
    figures = figures_of(replay_of(planned, NAMED[name].policy, step=3600.0), planned)
    assert (0, 0) == (figures.refused, figures.unavailable)
    assert figures.tokens > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hard_cut_over_refuses_no_longer_than_promised(seed: int) -> None:
    """A key that signs in the second of its publication is refused for `longest_wait_for_new_key` at most."""
    cut = synthetic_history("hard-cut-over", seed)
    figures = figures_of(replay_of(cut, DEFAULT), cut)
    assert figures.longest_refusal <= DEFAULT.longest_wait_for_new_key


@pytest.mark.parametrize("name", NAMED)
def test_an_emergency_ends_when_promised(name: str) -> None:
    """No phase of the schedule trusts a withdrawn key for longer than `longest_trust_after_removal`, and some come near."""
    policy = NAMED[name].policy
    emergency = synthetic_history("emergency", 1)
    trust = spreads([figures_of(replay_of(emergency, policy, phase=phase), emergency) for phase in range(4)])["longest_trust"]
    assert trust is not None
    assert policy.longest_trust_after_removal / 2 < trust.most <= policy.longest_trust_after_removal


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", SYNTHETIC)
def test_no_history_breaks_the_promise_of_trust(name: str, seed: int) -> None:
    """While the issuer answers, no removed key outlives `longest_trust_after_removal`."""
    made = synthetic_history(name, seed)
    figures = figures_of(replay_of(made, DEFAULT, step=300.0, seed=seed), made)
    assert figures.longest_trust is not None
    assert 0 < figures.longest_trust <= DEFAULT.longest_trust_after_removal


def test_a_longer_grace_refuses_less_and_trusts_longer() -> None:
    """The bargain of R10, on an issuer whose keys flap."""
    flapping = synthetic_history("flapping-replicas", 1)
    graces = [figures_of(replay_of(flapping, RolloverPolicy(removed_key_grace=hours * HOUR)), flapping) for hours in (0, 2, 12)]
    assert graces[0].refused > graces[1].refused > graces[2].refused == 0
    assert graces[0].longest_trust < graces[1].longest_trust < graces[2].longest_trust


def test_one_seed_is_one_replay() -> None:
    """The same seed and phase give the same figures; another phase is another schedule."""
    flapping = synthetic_history("flapping-replicas", 1)
    first, again, other = (figures_of(replay_of(flapping, DEFAULT, seed=5, phase=phase), flapping) for phase in (0, 0, 1))
    assert first == again != other


def test_one_refusal_is_counted_from_end_to_end() -> None:
    """Runs of one key are counted by key: two that are refused in turn do not add up."""
    verdicts: list[dict[str, Verdict]] = [{"a": "refused", "b": "accepted"}, {"a": "accepted", "b": "refused"}, {"a": "unavailable", "b": "refused"}]
    calm = history((0, "ab"), (1, "ab"))

    class Told(Replay):
        def spans(self):
            for number, verdict in enumerate(verdicts):
                yield Span(START + number * MINUTE, 1, verdict, frozenset("ab"), frozenset())

    figures = figures_of(Told(calm, DEFAULT), calm)
    assert (6, 3, 0.5, 3 * MINUTE, 2 * MINUTE) == (
        figures.tokens,
        figures.refused,
        figures.refused_share,
        figures.refused_seconds,
        figures.longest_refusal,
    )
    assert (1, MINUTE) == (figures.unavailable, figures.unavailable_seconds)


def test_a_spread_has_average_least_and_most() -> None:
    """Each figure by itself; one that no history has stays without a value."""
    one = Figures(10, 0, 0.0, 0.0, 0.0, 0, 0.0, None, 1.0, 2)
    both = spreads([one, replace(one, refused=4)])
    assert (2, 0, 4) == (both["refused"].mean, both["refused"].least, both["refused"].most)
    assert both["longest_trust"] is None


def test_a_wait_on_the_virtual_clock_takes_no_time() -> None:
    """Time goes on by what was waited, and the event's state is told."""
    clock, event = _VirtualClock(10.0), threading.Event()
    assert not clock.wait(event, 5.0)
    event.set()
    assert clock.wait(event, 1.0)
    assert (16.0, 16.0) == (clock.monotonic(), clock.wall())
