"""The numbers of rollover: defaults, ranges, and the worst cases that follow."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import ConfigurationError, RolloverPolicy
from keyturn._core.policy import _RANGES

NAMES = [field.name for field in dataclasses.fields(RolloverPolicy)]
COUNTS = {"max_unknown_kids", "max_candidates", "max_waiting", "max_document_bytes", "max_keys"}
# What has to change along, so that a bound can be tried by itself.
ALONG: dict[str, dict[str, float]] = {
    "on_demand_interval": {"on_demand_interval_max": 86_400},
    "retry_min": {"retry_max": 86_400},
    "on_demand_interval_max": {"on_demand_interval": 1},
    "retry_max": {"retry_min": 1},
}


def test_the_defaults() -> None:
    """Each default is a promise of the documentation."""
    assert {
        "refresh_interval": 86_400,
        "refresh_jitter": 0.1,
        "on_demand_interval": 300,
        "on_demand_interval_max": 900,
        "retry_min": 1,
        "retry_max": 300,
        "max_stale": 86_400,
        "removed_key_grace": 7_200,
        "max_unknown_kids": 1_024,
        "max_candidates": 16,
        "max_waiting": 100,
        "deadline": 5,
        "connect_timeout": 1.5,
        "max_document_bytes": 524_288,
        "max_keys": 500,
        "follow_cache_control": False,
    } == dataclasses.asdict(RolloverPolicy())


def test_the_worst_cases() -> None:
    """26 h, 50 h and 48 h by default; 5 min, 65 min and 65 min with `strict()` (I1)."""
    policy = RolloverPolicy()
    assert (26, 50, 48) == tuple(
        seconds / 3600 for seconds in (policy.longest_trust_after_removal, policy.longest_trust_in_outage, policy.longest_outage_served)
    )
    assert 305 == policy.longest_wait_for_new_key
    strict = RolloverPolicy.strict()
    assert (5, 65, 65) == tuple(
        seconds / 60 for seconds in (strict.longest_trust_after_removal, strict.longest_trust_in_outage, strict.longest_outage_served)
    )


@pytest.mark.parametrize("name", sorted(_RANGES))
def test_bounds_are_inclusive(name: str) -> None:
    """The bound itself is allowed, the next number beyond is not, and the message names range and setting."""
    low, high = _RANGES[name]
    step: Any = 1 if name in COUNTS else None
    for bound in (low, high):
        assert bound == getattr(RolloverPolicy(**{name: bound, **ALONG.get(name, {})}), name)
    for beyond in (low - step if step else math.nextafter(low, -math.inf), high + step if step else math.nextafter(high, math.inf)):
        with pytest.raises(ConfigurationError, match=f"{name} is .* from .* to .*setting: {name}"):
            RolloverPolicy(**{name: beyond, **ALONG.get(name, {})})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, "300", float("nan"), float("inf"), -float("inf"), -1, [], {}, b"1", pytest.param(10**5_000, id="huge"), 1j])
def test_other_types_and_no_numbers_refuse(name: str, value: Any) -> None:
    """NaN is between no bounds, and nothing is converted."""
    with pytest.raises(ConfigurationError, match=f"setting: {name}"):
        RolloverPolicy(**{name: value})


@pytest.mark.parametrize("name", sorted(_RANGES))
def test_a_boolean_is_no_number(name: str) -> None:
    """True would be one second."""
    with pytest.raises(ConfigurationError, match=f"{name} is true"):
        RolloverPolicy(**{name: True})


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_a_count_is_whole(name: str) -> None:
    """Half a key cannot be counted."""
    with pytest.raises(ConfigurationError, match="expected a whole number"):
        RolloverPolicy(**{name: 5_000.0})


@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_a_switch_is_true_or_false(value: Any) -> None:
    """Anything else is a mistake."""
    assert RolloverPolicy(follow_cache_control=True).follow_cache_control
    with pytest.raises(ConfigurationError, match="expected True or False"):
        RolloverPolicy(follow_cache_control=value)


@pytest.mark.parametrize(("smaller", "larger"), [("on_demand_interval", "on_demand_interval_max"), ("retry_min", "retry_max")])
def test_two_that_contradict_each_other(smaller: str, larger: str) -> None:
    """Equal is no contradiction; larger is one, and the message shows both."""
    RolloverPolicy(**{smaller: 20, larger: 20})
    with pytest.raises(ConfigurationError, match=f"{smaller} is 21, expected at most {larger}, which is 20 .setting: {smaller}."):
        RolloverPolicy(**{smaller: 21, larger: 20})


@given(st.sampled_from(sorted(_RANGES)), st.integers() | st.floats() | st.text(max_size=5) | st.none() | st.booleans())
def test_a_policy_is_within_its_ranges_or_not_there(name: str, value: Any) -> None:
    """Whatever is set, no policy exists whose numbers lie outside."""
    try:
        policy = RolloverPolicy(**{name: value})
    except ConfigurationError:
        return
    assert all(low <= getattr(policy, each) <= high for each, (low, high) in _RANGES.items())


def test_a_policy_does_not_change() -> None:
    """It is shared by threads; a copy with another number is checked again."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        RolloverPolicy().deadline = 1  # type: ignore[misc]
    with pytest.raises(ConfigurationError):
        dataclasses.replace(RolloverPolicy(), deadline=0)


def test_every_number_has_a_range() -> None:
    """A new field cannot be forgotten."""
    assert set(NAMES) == set(_RANGES) | {"follow_cache_control"}
