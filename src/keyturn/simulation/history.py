"""The history of one issuer's keys: what it published when, as the documented JSON format says it.

Rules of this file:

1. Reading is strict: an unknown member, a time without an offset, an order that runs back are errors that name what was expected.
2. An observation is the complete set of key ids at its time, and holds until the next one. The history ends at the last one.
3. The order of key ids means nothing (R2).
4. A key is removed for good at the end of its last publication, if that comes before the end of the history.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from keyturn._core.jwk import MAX_KID
from keyturn._core.strict_json import NotStrictJSONError, RepeatedMember, parse_document
from keyturn.errors import ConfigurationError, quoted

MOST_BYTES = 64 * 1_048_576
"""Longest history that is read: years of hourly samples stay far below it."""

TOKEN_LIFETIME = 3_600.0
"""Seconds for which a token is used after it was signed, where a history does not say."""

LONGEST_LIFETIME = 30 * 86_400.0
"""Longest lifetime of a token that a history may say."""

_MEMBERS = ("issuer", "source", "note", "observations", "signing", "token_lifetime", "outages")
_TEXTS = ("issuer", "source", "note")
_FEWEST = 2
_STATUSES = (300, 599)


@dataclass(frozen=True, slots=True)
class Observation:
    """What the issuer published from one instant on.

    Attributes:
        time: Seconds since the epoch.
        kids: Every key id of the set.
    """

    time: float
    kids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Signing:
    """Which key signs from one instant on.

    Attributes:
        time: Seconds since the epoch.
        kid: The key.
    """

    time: float
    kid: str


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which every request to the issuer fails.

    Attributes:
        start: Seconds since the epoch.
        end: The second at which it is over.
        status: HTTP status of the answers, or 0 for no answer at all.
    """

    start: float
    end: float
    status: int


@dataclass(frozen=True, slots=True)
class Use:
    """A time in which good tokens of a key are in use.

    Attributes:
        kid: The key.
        start: Seconds since the epoch.
        end: The second at which it is over.
    """

    kid: str
    start: float
    end: float


@dataclass(frozen=True)
class History:
    """The history of one issuer's keys.

    Attributes:
        name: What reports call it.
        observations: The sets, in the order of their times; at least two.
        issuer: The issuer, or None.
        signing: Which key signs when; empty where nobody knows.
        token_lifetime: Seconds for which a token is used after it was signed; matters with `signing` alone.
        outages: When the issuer could not be asked.
    """

    name: str
    observations: tuple[Observation, ...]
    issuer: str | None = None
    signing: tuple[Signing, ...] = ()
    token_lifetime: float = TOKEN_LIFETIME
    outages: tuple[Outage, ...] = ()

    @property
    def start(self) -> float:
        """Second of the first observation."""
        return self.observations[0].time

    @property
    def end(self) -> float:
        """Second of the last observation: nothing is known after it."""
        return self.observations[-1].time

    @cached_property
    def kids(self) -> tuple[str, ...]:
        """Every key id, in the order of first publication and then by name."""
        first: dict[str, float] = {}
        for observation in self.observations:
            for kid in observation.kids:
                first.setdefault(kid, observation.time)
        return tuple(sorted(first, key=lambda kid: (first[kid], kid)))

    def published_at(self, now: float) -> frozenset[str]:
        """Return what was published at *now*; before the first observation, what that one holds."""
        return self.observations[max(0, bisect_right(self._times, now) - 1)].kids

    def outage_at(self, now: float) -> Outage | None:
        """Return the outage at *now*, or None."""
        return next((outage for outage in self.outages if outage.start <= now < outage.end), None)

    def published(self, kid: str) -> tuple[tuple[float, float], ...]:
        """Return when *kid* was published: (start, end) of each time."""
        spans: list[tuple[float, float]] = []
        for observation, until in zip(self.observations, self._times[1:], strict=False):
            if kid not in observation.kids:
                continue
            if spans and spans[-1][1] == observation.time:
                spans[-1] = (spans[-1][0], until)
            else:
                spans.append((observation.time, until))
        return tuple(spans)

    @cached_property
    def removed(self) -> dict[str, float]:
        """When each key was removed for good; keys that are still there at the end are not in it."""
        last = {kid: number for number, observation in enumerate(self.observations) for kid in observation.kids}
        return {kid: self._times[number + 1] for kid, number in last.items() if number + 1 < len(self._times)}

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """When good tokens of each key are in use.

        Without `signing`: from a key's first publication to its last, gaps and all. With it: while the key signs and for a token's
        lifetime after that, but no longer than until it is removed for good, since an issuer takes its tokens back by that.
        """
        if not self.signing:
            spans = {kid: self.published(kid) for kid in self.kids}
            return tuple(Use(kid, span[0][0], span[-1][1]) for kid, span in spans.items() if span)
        uses: dict[str, list[Use]] = {}
        for number, signing in enumerate(self.signing):
            over = self.signing[number + 1].time if number + 1 < len(self.signing) else self.end
            end = min(over + self.token_lifetime, self.removed.get(signing.kid, self.end), self.end)
            earlier = uses.setdefault(signing.kid, [])
            if earlier and earlier[-1].end >= signing.time:
                earlier[-1] = Use(signing.kid, earlier[-1].start, max(end, earlier[-1].end))
            else:
                earlier.append(Use(signing.kid, signing.time, end))
        return tuple(use for kid in self.kids for use in uses.get(kid, ()))

    @cached_property
    def _times(self) -> tuple[float, ...]:
        return tuple(observation.time for observation in self.observations)


def read_history(path: Path) -> History:
    """Read the history in a file; it is called after the file.

    Raises:
        ConfigurationError: The file cannot be read, or is no history.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read the file {quoted(str(path))}: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise ConfigurationError(f"the file {quoted(str(path))} has more than {MOST_BYTES} bytes, expected a key history")
    return parse_history(data, path.stem)


def parse_history(data: bytes, name: str) -> History:
    """Return the history that a JSON text holds.

    Args:
        data: The text.
        name: What reports call it.

    Raises:
        ConfigurationError: It is no history; the message names the place, what was expected and what came.
    """
    try:
        document = parse_document(data)
    except NotStrictJSONError as error:
        raise _fault(name, f"expected a JSON object, got {error}") from None
    if isinstance(document, RepeatedMember):
        raise _fault(name, "the object names a member twice")
    if not isinstance(document, dict):
        raise _fault(name, f"expected a JSON object, got {quoted(document)}")
    return _Reader(name, document).history()


def _fault(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"key history {quoted(name)}: {what}", hint='The format is described under "Key histories" in the reference.')


class _Reader:
    """Reads one document; every method raises a `ConfigurationError` that names the place in it."""

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        self._name = name
        self._document = document

    def history(self) -> History:
        for member in self._document:
            if member not in _MEMBERS:
                raise self._fault(f"unknown member {quoted(member)}, expected {', '.join(_MEMBERS)}")
        for member in _TEXTS:
            if member in self._document and not isinstance(self._document[member], str):
                raise self._fault(f"{member} is {quoted(self._document[member])}, expected text")
        observations = self._observations()
        history = History(
            self._name,
            observations,
            self._document.get("issuer"),
            self._signing(observations),
            self._lifetime(),
            self._outages(observations),
        )
        self._check_signing(history)
        return history

    def _observations(self) -> tuple[Observation, ...]:
        entries = self._list("observations", needed=True)
        observations: list[Observation] = []
        for number, entry in enumerate(entries):
            place = f"observations[{number}]"
            time, kids = self._members(entry, place, ("time", "kids"))
            observations.append(Observation(self._time(time, f"{place}.time"), self._kids(kids, f"{place}.kids")))
        self._check_order([observation.time for observation in observations], "observations")
        if len(observations) < _FEWEST:
            raise self._fault(f"observations has {len(observations)} entries, expected at least {_FEWEST}: the last one ends the history")
        if not any(observation.kids for observation in observations):
            raise self._fault("no observation holds a key id, expected at least one")
        return tuple(observations)

    def _signing(self, observations: Sequence[Observation]) -> tuple[Signing, ...]:
        signing: list[Signing] = []
        known = {kid for observation in observations for kid in observation.kids}
        for number, entry in enumerate(self._list("signing")):
            place = f"signing[{number}]"
            time, kid = self._members(entry, place, ("time", "kid"))
            if not isinstance(kid, str) or kid not in known:
                raise self._fault(f"{place}.kid is {quoted(kid)}, expected a key id of an observation")
            signing.append(Signing(self._within(time, f"{place}.time", observations), kid))
        self._check_order([entry.time for entry in signing], "signing")
        if "token_lifetime" in self._document and not signing:
            raise self._fault("token_lifetime is given without signing, which it belongs to")
        return tuple(signing)

    def _check_signing(self, history: History) -> None:
        for number, signing in enumerate(history.signing):
            gone = history.removed.get(signing.kid)
            if gone is not None and gone <= signing.time:
                raise self._fault(f"signing[{number}].kid is {quoted(signing.kid)}, expected a key that is not removed for good before it signs")

    def _lifetime(self) -> float:
        value = self._document.get("token_lifetime", TOKEN_LIFETIME)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_LIFETIME:
            raise self._fault(f"token_lifetime is {quoted(value)}, expected seconds from 0 to {LONGEST_LIFETIME:.0f}")
        return float(value)

    def _outages(self, observations: Sequence[Observation]) -> tuple[Outage, ...]:
        outages: list[Outage] = []
        for number, entry in enumerate(self._list("outages")):
            place = f"outages[{number}]"
            if not isinstance(entry, list) or len(entry) != len(("from", "to", "status")):
                raise self._fault(f"{place} is {quoted(entry)}, expected a list of from, to and status")
            start, end = (self._within(value, f"{place}[{index}]", observations) for index, value in enumerate(entry[:2]))
            if end <= start:
                raise self._fault(f"{place} ends at {quoted(entry[1])}, expected a time after {quoted(entry[0])}")
            outages.append(Outage(start, end, self._status(entry[2], f"{place}[2]")))
        return tuple(outages)

    def _status(self, value: object, place: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not (value == 0 or _STATUSES[0] <= value <= _STATUSES[1]):
            raise self._fault(f"{place} is {quoted(value)}, expected an HTTP status from {_STATUSES[0]} to {_STATUSES[1]}, or 0 for no answer")
        return value

    def _list(self, member: str, *, needed: bool = False) -> list[Any]:
        if needed and member not in self._document:
            raise self._fault(f"expected the member {member}, a list of objects with time and kids")
        value = self._document.get(member, [])
        if not isinstance(value, list):
            raise self._fault(f"{member} is {quoted(value)}, expected a list")
        return value

    def _members(self, entry: object, place: str, names: tuple[str, str]) -> tuple[Any, Any]:
        if not isinstance(entry, dict) or entry.keys() != set(names):
            shown = f"an object with {quoted(sorted(entry))}" if isinstance(entry, dict) else quoted(entry)
            raise self._fault(f"{place} is {shown}, expected an object with {names[0]} and {names[1]}")
        return entry[names[0]], entry[names[1]]

    def _kids(self, value: object, place: str) -> frozenset[str]:
        if not isinstance(value, list):
            raise self._fault(f"{place} is {quoted(value)}, expected a list of key ids")
        for kid in value:
            if not isinstance(kid, str) or len(kid) > MAX_KID:
                raise self._fault(f"{place} holds {quoted(kid)}, expected text of at most {MAX_KID} characters")
            if value.count(kid) > 1:
                raise self._fault(f"{place} holds {quoted(kid)} twice, expected each key id once")
        return frozenset(value)

    def _time(self, value: object, place: str) -> float:
        try:
            time = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            time = None
        if time is None or time.tzinfo is None:
            raise self._fault(f'{place} is {quoted(value)}, expected a time with its offset, for example "2027-01-31T12:00:00+00:00"')
        return time.timestamp()

    def _within(self, value: object, place: str, observations: Sequence[Observation]) -> float:
        time = self._time(value, place)
        if not observations[0].time <= time <= observations[-1].time:
            raise self._fault(f"{place} is {quoted(value)}, expected a time between the first and the last observation")
        return time

    def _check_order(self, times: Sequence[float], member: str) -> None:
        for number in range(1, len(times)):
            if times[number] <= times[number - 1]:
                raise self._fault(f"{member}[{number}].time is not after the one before it, expected times in ascending order")

    def _fault(self, what: str) -> ConfigurationError:
        return _fault(self._name, what)
