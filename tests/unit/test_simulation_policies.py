"""Policies are read as a person writes them, and every mistake says what was expected."""

from __future__ import annotations

from dataclasses import fields

import pytest

from keyturn._core.policy import RolloverPolicy
from keyturn.errors import ConfigurationError
from keyturn.simulation.policies import FELT, NAMED, policy_named

UNFELT = {"max_candidates", "max_waiting", "deadline", "connect_timeout", "max_document_bytes", "max_keys", "follow_cache_control"}


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("default", RolloverPolicy()),
        ("strict", RolloverPolicy.strict()),
        ("entra", RolloverPolicy(removed_key_grace=21_600.0)),
        ("refresh_interval=3600", RolloverPolicy(refresh_interval=3_600.0)),
        ("refresh_interval=3600,removed_key_grace=0", RolloverPolicy(refresh_interval=3_600.0, removed_key_grace=0.0)),
        ("strict,removed_key_grace=90.5", RolloverPolicy(refresh_interval=300.0, removed_key_grace=90.5, max_stale=3_600.0)),
        ("max_unknown_kids=5", RolloverPolicy(max_unknown_kids=5)),
    ],
)
def test_names_and_settings_make_a_policy(text: str, policy: RolloverPolicy) -> None:
    """A name, settings that change the default, or a name and settings that change it."""
    assert policy == policy_named(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lax", 'policy is "lax", expected default, strict, entra or SETTING=VALUE (setting: --policy)'),
        ("", 'policy is "", expected default'),
        ("strict,default", 'policy has "default", expected SETTING=VALUE with one of refresh_interval'),
        ("strict,", 'policy has "", expected SETTING=VALUE'),
        ("deadline=5", 'policy has "deadline=5", expected SETTING=VALUE with one of refresh_interval, refresh_jitter'),
        ("max_stale=1,max_stale=2", "policy names max_stale twice, expected each setting once"),
        ("max_stale=soon", 'policy has max_stale="soon", expected a number (setting: --policy)'),
        ("max_unknown_kids=1.5", 'policy has max_unknown_kids="1.5", expected a whole number (setting: --policy)'),
        ("max_stale=-1", "max_stale is -1.0, expected a number from 0 to 2.592e+06 (setting: max_stale)"),
        ("max_stale=nan", "max_stale is nan, expected a number"),
        ("on_demand_interval=901", "on_demand_interval is 901, expected at most on_demand_interval_max"),
    ],
)
def test_a_mistake_says_what_was_expected(text: str, message: str) -> None:
    """Unknown names, settings that a replay cannot feel, values that are none: each has its message."""
    with pytest.raises(ConfigurationError) as caught:
        policy_named(text)
    assert message in caught.value.message


def test_every_setting_is_felt_or_known_not_to_be() -> None:
    """A setting that the policy gains has to be put on one side."""
    assert {field.name for field in fields(RolloverPolicy)} == set(FELT) | UNFELT
    assert not set(FELT) & UNFELT


def test_every_named_policy_says_what_it_is_for() -> None:
    """`--list` shows a summary of each."""
    assert ["default", "strict", "entra"] == list(NAMED)
    assert all(named.summary for named in NAMED.values())
