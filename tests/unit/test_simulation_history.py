"""Histories are read strictly, and say when each key was published, used and removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.histories import DAY, HOUR, START, document, history, moment

from keyturn.errors import ConfigurationError
from keyturn.simulation import history as module
from keyturn.simulation.history import Observation, Outage, Signing, Use, parse_history, read_history

TWO = [{"time": moment(0), "kids": ["a"]}, {"time": moment(1), "kids": ["a"]}]


def test_every_member_is_read() -> None:
    """Sets, issuer, signing keys, lifetime and outages come out as they went in; words for people are allowed."""
    read = history(
        (0, "ab"),
        (2, "b"),
        issuer="https://login.example.com",
        source="a public record",
        note="hourly",
        signing=[{"time": moment(0), "kid": "a"}],
        token_lifetime=600,
        outages=[[moment(1), moment(1.5), 503], [moment(1), moment(2), 0]],
    )
    assert (Observation(START, frozenset("ab")), Observation(START + 2 * HOUR, frozenset("b"))) == read.observations
    assert ("test", "https://login.example.com", 600.0) == (read.name, read.issuer, read.token_lifetime)
    assert (Signing(START, "a"),) == read.signing
    assert (Outage(START + HOUR, START + 1.5 * HOUR, 503), Outage(START + HOUR, START + 2 * HOUR, 0)) == read.outages
    assert (START, START + 2 * HOUR) == (read.start, read.end)


def test_an_observation_holds_until_the_next() -> None:
    """The set of an instant is that of the last observation; before the first one it is the first one's."""
    read = history((0, "a"), (1, "b"), (2, "c"))
    shown = ["".join(read.published_at(START + hours * HOUR)) for hours in (-5, 0, 0.999, 1, 2, 9)]
    assert ["a", "a", "a", "b", "c", "c"] == shown


def test_an_outage_covers_its_beginning_and_not_its_end() -> None:
    """A period that starts at t and lasts N is over at t + N."""
    read = history((0, "a"), (9, "a"), outages=[[moment(1), moment(2), 503]])
    assert [False, True, True, False] == [read.outage_at(START + hours * HOUR) is not None for hours in (0.999, 1, 1.999, 2)]


def test_publications_are_joined_and_gaps_are_kept() -> None:
    """Observations that follow one another with the same key are one publication."""
    read = history((0, "ab"), (1, "ab"), (2, "a"), (3, "ab"), (4, "a"))
    assert ((START, START + 2 * HOUR), (START + 3 * HOUR, START + 4 * HOUR)) == read.published("b")
    assert ((START, START + 4 * HOUR),) == read.published("a")
    assert ("a", "b") == read.kids


def test_a_key_is_removed_for_good_when_it_never_returns() -> None:
    """A gap is no removal, and what is there at the end was not removed."""
    read = history((0, "ab"), (1, "a"), (2, "abc"), (3, "ac"), (4, "ac"))
    assert {"b": START + 3 * HOUR} == read.removed


def test_without_signing_keys_are_used_from_first_to_last_publication() -> None:
    """Gaps count: whether an issuer signs meanwhile nobody knows; a key that only the last moment saw is not used."""
    read = history((0, "ab"), (1, "a"), (2, "abc"), (3, "ac"), (4, "acd"))
    expected = {Use("a", START, START + 4 * HOUR), Use("b", START, START + 3 * HOUR), Use("c", START + 2 * HOUR, START + 4 * HOUR)}
    assert expected == set(read.uses)


def test_with_signing_tokens_are_used_for_their_lifetime() -> None:
    """A token of the last second lives on, until its key is removed for good or the history ends; times that touch are one."""
    signing = [{"time": moment(hours), "kid": kid} for hours, kid in ((0, "a"), (2, "b"), (3, "a"), (6, "b"))]
    read = history((0, "ab"), (6.5, "b"), (9, "b"), signing=signing, token_lifetime=2 * HOUR)
    expected = [Use("a", START, START + 6.5 * HOUR), Use("b", START + 2 * HOUR, START + 5 * HOUR), Use("b", START + 6 * HOUR, START + 9 * HOUR)]
    assert expected == list(read.uses)


def test_the_order_of_key_ids_means_nothing() -> None:
    """Two documents that differ in it alone are the same history (R2)."""
    assert history((0, "abc"), (1, "ab")) == history((0, "cab"), (1, "ba"))


def test_a_file_is_called_after_itself(tmp_path: Path) -> None:
    """The name in reports is that of the file, without its folder."""
    path = tmp_path / "login.json"
    path.write_text(json.dumps(document((0, "a"), (1, "a"))), encoding="utf-8")
    assert "login" == read_history(path).name


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file is the caller's mistake, told with its reason."""
    with pytest.raises(ConfigurationError, match=r"cannot read the file .*: No such file"):
        read_history(tmp_path / "gone.json")


def test_a_file_has_a_longest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer is not read into memory."""
    path = tmp_path / "login.json"
    path.write_text(json.dumps(document((0, "a"), (1, "a"))), encoding="utf-8")
    monkeypatch.setattr(module, "MOST_BYTES", path.stat().st_size)
    read_history(path)
    monkeypatch.setattr(module, "MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(ConfigurationError, match=r"has more than \d+ bytes, expected a key history"):
        read_history(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected a JSON object, got an empty body"),
        (b"{", "expected a JSON object, got text that is not JSON"),
        (b"[]", r"expected a JSON object, got \[\]"),
        (b'{"note": "a", "note": "b"}', "the object names a member twice"),
    ],
)
def test_what_is_no_document_is_told(text: bytes, message: str) -> None:
    """Each way of being no JSON object has its message, with the history's name and where the format is described."""
    with pytest.raises(ConfigurationError, match=f'^key history "test": {message}$') as caught:
        parse_history(text, "test")
    assert "Key histories" in caught.value.hint


def observed(entry: object) -> dict[str, Any]:
    """Return a document with *entry* as its first observation."""
    return {"observations": [entry, TWO[1]]}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"outage": []}, 'unknown member "outage", expected issuer, source, note, observations, signing, token_lifetime, outages'),
        ({"issuer": 1}, "issuer is 1, expected text"),
        ({"source": None}, "source is null, expected text"),
        ({"note": []}, "note is [], expected text"),
        ({"observations": {}}, "observations is an object, expected a list"),
        ({"observations": TWO[:1]}, "observations has 1 entries, expected at least 2: the last one ends the history"),
        (observed([]), "observations[0] is [], expected an object with time and kids"),
        (observed({"time": moment(0)}), 'observations[0] is an object with ["time"], expected an object with time and kids'),
        (observed({"time": moment(0), "kids": [], "x": 1}), 'an object with ["kids", "time", "x"], expected an object with time and kids'),
        (observed({"time": 5, "kids": []}), "observations[0].time is 5, expected a time with its offset"),
        (observed({"time": "soon", "kids": []}), 'observations[0].time is "soon", expected a time with its offset'),
        (observed({"time": "2027-01-01T00:00:00", "kids": []}), 'for example "2027-01-31T12:00:00+00:00"'),
        (observed({"time": moment(0), "kids": "a"}), 'observations[0].kids is "a", expected a list of key ids'),
        (observed({"time": moment(0), "kids": [1]}), "observations[0].kids holds 1, expected text of at most 256 characters"),
        (observed({"time": moment(0), "kids": ["a" * 257]}), "expected text of at most 256 characters"),
        (observed({"time": moment(0), "kids": ["a", "b", "a"]}), 'observations[0].kids holds "a" twice, expected each key id once'),
        (observed({"time": moment(1), "kids": ["a"]}), "observations[1].time is not after the one before it, expected times in ascending order"),
        (
            {"observations": [{"time": moment(0), "kids": []}, {"time": moment(1), "kids": []}]},
            "no observation holds a key id, expected at least one",
        ),
        ({"signing": {}}, "signing is an object, expected a list"),
        ({"signing": ["a"]}, 'signing[0] is "a", expected an object with time and kid'),
        ({"signing": [{"time": moment(0), "kid": "z"}]}, 'signing[0].kid is "z", expected a key id of an observation'),
        ({"signing": [{"time": moment(2), "kid": "a"}]}, "signing[0].time is"),
        ({"signing": [{"time": moment(-1), "kid": "a"}]}, "expected a time between the first and the last observation"),
        ({"signing": [{"time": moment(0), "kid": "a"}] * 2}, "signing[1].time is not after the one before it"),
        (
            {
                "observations": [{"time": moment(-1), "kids": ["b"]}, *TWO],
                "signing": [{"time": moment(0), "kid": "b"}],
            },
            'signing[0].kid is "b", expected a key that is not removed for good before it signs',
        ),
        ({"token_lifetime": 60}, "token_lifetime is given without signing, which it belongs to"),
        ({"signing": [{"time": moment(0), "kid": "a"}], "token_lifetime": -1}, "token_lifetime is -1, expected seconds from 0 to 2592000"),
        ({"signing": [{"time": moment(0), "kid": "a"}], "token_lifetime": True}, "token_lifetime is true, expected seconds from 0 to 2592000"),
        ({"outages": 1}, "outages is 1, expected a list"),
        ({"outages": [[moment(0), moment(1)]]}, "expected a list of from, to and status"),
        ({"outages": [[moment(0), moment(2), 503]]}, "outages[0][1] is"),
        ({"outages": [[moment(1), moment(0), 503]]}, "outages[0] ends at"),
        ({"outages": [[moment(0), moment(1), 200]]}, "outages[0][2] is 200, expected an HTTP status from 300 to 599, or 0 for no answer"),
        ({"outages": [[moment(0), moment(1), True]]}, "outages[0][2] is true, expected an HTTP status"),
    ],
)
def test_a_fault_is_named_with_its_place(members: dict[str, Any], message: str) -> None:
    """Whoever wrote the history learns where the fault is, what was expected and what stands there."""
    text = json.dumps({"observations": TWO, **members}).encode()
    with pytest.raises(ConfigurationError) as caught:
        parse_history(text, "test")
    assert message in caught.value.message


def test_observations_are_needed() -> None:
    """A document without any says what it should hold."""
    with pytest.raises(ConfigurationError, match="expected the member observations, a list of objects with time and kids"):
        parse_history(b'{"note": "empty"}', "test")


def test_a_time_may_be_written_in_any_offset() -> None:
    """Z and offsets name the same instants."""
    text = json.dumps({"observations": [{"time": "2027-01-01T00:00:00Z", "kids": ["a"]}, {"time": "2027-01-02T01:00:00+01:00", "kids": ["a"]}]})
    read = parse_history(text.encode(), "test")
    assert (START, START + DAY) == (read.start, read.end)
