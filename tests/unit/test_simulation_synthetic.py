"""Made-up histories have the habits that their names promise, and follow their seed alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.unit.histories import DAY, HOUR

from keyturn.errors import ConfigurationError
from keyturn.simulation.synthetic import SYNTHETIC, synthetic_history

SEEDS = (1, 2, 3)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_one_seed_is_one_history(name: str) -> None:
    """The same seed gives the same history, another one another; each has a summary and removes keys for good."""
    assert synthetic_history(name, 1) == synthetic_history(name, 1) != synthetic_history(name, 2)
    assert SYNTHETIC[name].summary
    assert synthetic_history(name, 1).removed


@pytest.mark.parametrize("name", SYNTHETIC)
@pytest.mark.parametrize("seed", SEEDS)
def test_observations_are_in_order_and_never_empty(name: str, seed: int) -> None:
    """A made-up history keeps the rules of the format; its last observation says nothing new."""
    made = synthetic_history(name, seed)
    times = [observation.time for observation in made.observations]
    assert sorted(set(times)) == times
    assert all(observation.kids for observation in made.observations)
    assert made.observations[-1].kids == made.observations[-2].kids


@pytest.mark.parametrize("seed", SEEDS)
def test_planned_keys_are_published_before_they_sign(seed: int) -> None:
    """Five days before it signs a key is there, and five days after the next one signs it still is."""
    made = synthetic_history("planned", seed)
    for earlier, signing in pairwise(made.signing):
        (published,) = made.published(signing.kid)
        assert signing.time - published[0] >= 4.9 * DAY
        assert made.removed[earlier.kid] - signing.time == pytest.approx(5 * DAY)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_emergency_brings_no_new_key(seed: int) -> None:
    """The second in which the signing key goes is the second in which an older one signs."""
    made = synthetic_history("emergency", seed)
    stolen, successor = made.signing
    assert successor.time == made.removed[stolen.kid]
    assert successor.kid in made.published_at(made.start)
    assert made.published_at(successor.time) < made.published_at(made.start)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hard_cut_over_has_no_overlap(seed: int) -> None:
    """Every set holds one key, which signs from its first second."""
    made = synthetic_history("hard-cut-over", seed)
    assert {1} == {len(observation.kids) for observation in made.observations}
    assert [(signing.time, frozenset([signing.kid])) for signing in made.signing] == [(each.time, each.kids) for each in made.observations[:-1]]


@pytest.mark.parametrize("seed", SEEDS)
def test_flapping_keys_miss_three_per_cent(seed: int) -> None:
    """Between first and last publication a key is missing about 3 % of the time, never longer than eight and a half hours."""
    made = synthetic_history("flapping-replicas", seed)
    missing = total = 0.0
    for kid in made.kids:
        spans = made.published(kid)
        gaps = [later[0] - earlier[1] for earlier, later in pairwise(spans)]
        # Gaps of two keys may end and begin together, but one key's do not touch.
        assert all(5 * 60 - 1 <= gap <= 8.5 * HOUR + 1 for gap in gaps)
        missing += sum(gaps)
        total += spans[-1][1] - spans[0][0]
    assert 0.02 < missing / total < 0.04


@pytest.mark.parametrize("seed", SEEDS)
def test_a_weekly_step_adds_and_drops_one(seed: int) -> None:
    """The set never grows: three keys, one of them new each week."""
    made = synthetic_history("weekly", seed)
    steps = list(pairwise(made.observations[:-1]))
    assert len(steps) >= 8
    assert {(3, 1, 1)} == {(len(later.kids), len(later.kids - earlier.kids), len(earlier.kids - later.kids)) for earlier, later in steps}


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    """A misspelt name shows what there is."""
    with pytest.raises(ConfigurationError, match='synthetic history is "planed", expected one of planned, emergency, hard-cut-over'):
        synthetic_history("planed", 1)
