"""Policies as a person writes them: `default`, `strict`, `entra`, `strict,removed_key_grace=3600`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from keyturn._core.policy import RolloverPolicy
from keyturn.errors import ConfigurationError, quoted

ENTRA_GRACE: Final = 21_600.0
"""Seconds: keys of Microsoft Entra are missing for hours and come back."""

FELT: Final = (
    "refresh_interval",
    "refresh_jitter",
    "on_demand_interval",
    "on_demand_interval_max",
    "retry_min",
    "retry_max",
    "max_stale",
    "removed_key_grace",
    "max_unknown_kids",
)
"""The settings that a replay can feel; the others bound real time, sizes and callers, of which a history has none."""

_HINT = "For example: --policy strict, --policy refresh_interval=3600,removed_key_grace=21600, --policy strict,removed_key_grace=3600."


@dataclass(frozen=True, slots=True)
class Named:
    """A policy with a name.

    Attributes:
        policy: The numbers.
        summary: What it is for, in a few words.
    """

    policy: RolloverPolicy
    summary: str


NAMED: Final[Mapping[str, Named]] = MappingProxyType(
    {
        "default": Named(RolloverPolicy(), "the defaults"),
        "strict": Named(RolloverPolicy.strict(), "RolloverPolicy.strict(): revocation before availability"),
        "entra": Named(RolloverPolicy(removed_key_grace=ENTRA_GRACE), "for Microsoft Entra: removed_key_grace of 6 hours"),
    }
)
"""Policies that are called by a name."""


def policy_named(text: str) -> RolloverPolicy:
    """Return the policy that *text* describes: a name, settings, or a name and settings that change it, separated by commas.

    Raises:
        ConfigurationError: There is no such name or setting, or the numbers are out of range.
    """
    first, *others = text.split(",")
    if "=" in first:
        return _changed(NAMED["default"].policy, [first, *others])
    if first not in NAMED:
        raise ConfigurationError(f"policy is {quoted(first)}, expected {', '.join(NAMED)} or SETTING=VALUE (setting: --policy)", hint=_HINT)
    return _changed(NAMED[first].policy, others)


def _changed(policy: RolloverPolicy, settings: list[str]) -> RolloverPolicy:
    values: dict[str, float] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in FELT:
            raise ConfigurationError(
                f"policy has {quoted(setting)}, expected SETTING=VALUE with one of {', '.join(FELT)} (setting: --policy)", hint=_HINT
            )
        if name in values:
            raise ConfigurationError(f"policy names {name} twice, expected each setting once (setting: --policy)", hint=_HINT)
        values[name] = _number(name, text)
    return replace(policy, **values)  # type: ignore[arg-type]  # every field that is felt is a number


def _number(name: str, text: str) -> float:
    try:
        return int(text) if name == "max_unknown_kids" else float(text)
    except ValueError:
        noun = "a whole number" if name == "max_unknown_kids" else "a number"
        raise ConfigurationError(f"policy has {name}={quoted(text)}, expected {noun} (setting: --policy)", hint=_HINT) from None
