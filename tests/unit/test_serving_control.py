"""The control API of the fake issuer: steps of a rollover, tokens on demand, state, limits. No socket is opened."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from keyturn import InvalidTokenError, TokenValidator, UnknownKeyError
from keyturn.serving import control as control_module
from keyturn.serving import issuer as issuer_module
from keyturn.serving.control import Control
from keyturn.serving.exchange import RefusedError, Request
from keyturn.serving.issuer import Settings
from keyturn.serving.members import read_members
from keyturn.testing import BAD_TOKENS, FakeClock
from keyturn.testing.keys import ALGORITHMS


@pytest.fixture
def control() -> Control:
    """A control API with one key, k1."""
    return Control(Settings("https://issuer.test"))


def validator(control: Control, **settings: Any) -> TokenValidator:
    """Return a validator of the issuer's tokens."""
    return TokenValidator("https://issuer.test", audience="api://test", fetcher=control.issuer.fetcher(), **settings)


def refused(control: Control, operation: str, values: dict[str, Any]) -> tuple[int, str]:
    """Return how an operation is refused, and check that nothing has changed."""
    before = control.state()
    with pytest.raises(RefusedError) as caught:
        control.mint(values) if operation == "mint" else control.act(operation, values)
    assert before == control.state()
    return caught.value.status, caught.value.code


def keys(control: Control) -> dict[str, tuple[str, bool]]:
    """Return the state of each known key, and whether it signs."""
    return {key["kid"]: (key["state"], key["signs"]) for key in control.state()["keys"]}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([("publish", {})], {"k1": ("published", True), "k2": ("published", False)}),
        ([("publish", {"kid": "a"}), ("promote", {"kid": "a"})], {"k1": ("published", False), "a": ("published", True)}),
        ([("rotate", {})], {"k1": ("published", False), "k2": ("published", True)}),
        ([("rotate", {}), ("retire", {"kid": "k1"})], {"k1": ("retired", False), "k2": ("published", True)}),
        ([("cut-over", {})], {"k1": ("retired", False), "k2": ("published", True)}),
        ([("withhold", {"kid": "k1"})], {"k1": ("withheld", True)}),
        ([("withhold", {"kid": "k1"}), ("restore", {"kid": "k1"})], {"k1": ("published", True)}),
        ([("emergency", {})], {"k1": ("retired", False), "k1-successor": ("published", True)}),
        ([("publish", {}), ("emergency", {"kid": "k1", "successor": "k2"})], {"k1": ("retired", False), "k2": ("published", True)}),
        ([("sign-unpublished", {"kid": "n"})], {"k1": ("published", False), "n": ("unpublished", True)}),
        ([("rotate", {}), ("reset", {})], {"k1": ("published", True)}),
    ],
)
def test_steps_are_those_of_a_rollover(control: Control, steps: list[tuple[str, dict[str, Any]]], expected: dict[str, tuple[str, bool]]) -> None:
    """Each step does to the keys what the kit's step of the same name does; `rotate` publishes and promotes."""
    for operation, values in steps:
        control.act(operation, values)
    assert expected == keys(control)
    assert {kid for kid, (state, _) in expected.items() if state == "published"} == {key["kid"] for key in control.issuer.jwks()["keys"]}


def test_a_validator_lives_through_a_rotation_and_notices_a_cut_over(control: Control) -> None:
    """The steps are real: tokens of a rotated key are accepted after one refresh, those of a key that left are refused after one."""
    judge = validator(control, clock=(clock := FakeClock(wall=control.issuer.clock.wall())))
    old = control.mint({"lifetime": 1e6})["token"]
    judge.validate(old)
    control.act("rotate", {})
    assert "k2" == judge.validate(control.mint({})["token"]).key_id
    control.act("cut-over", {})
    clock.advance(hours=3)
    assert "k3" == judge.validate(control.mint({"lifetime": 1e6})["token"]).key_id
    clock.advance(hours=3)
    with pytest.raises(UnknownKeyError):
        judge.validate(old)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_of_every_algorithm_can_be_made(control: Control, algorithm: str) -> None:
    """A rollover from one algorithm to another is a rollover, too."""
    control.act("cut-over", {"kid": "new", "algorithm": algorithm})
    assert algorithm == control.mint({})["header"]["alg"]
    assert "new" == validator(control).validate(control.mint({})["token"]).key_id


def test_other_material_under_the_same_kid_is_another_key(control: Control) -> None:
    """`replace-material` keeps the kid and changes the thumbprint."""
    (before,) = control.state()["keys"]
    (after,) = control.act("replace-material", {"kid": "k1"})["keys"]
    assert before["thumbprint"] != after["thumbprint"]
    assert {**before, "thumbprint": None} == {**after, "thumbprint": None}


def test_the_order_of_the_set_can_be_changed(control: Control) -> None:
    """A seed means one order."""
    for _ in range(6):
        control.act("publish", {})
    before = control.issuer.published_kids
    control.act("shuffle", {"seed": 7})
    assert before != control.issuer.published_kids
    assert sorted(before) == sorted(control.issuer.published_kids)


def test_a_step_tells_what_it_did_and_the_state_afterwards(control: Control) -> None:
    """Whoever took a step needs not ask again, and the steps are remembered."""
    answer = control.act("rotate", {"kid": "new"})
    assert "new is published and signs" == answer.pop("done")
    assert control.state() == answer
    assert ["new is published and signs"] == [step["done"] for step in answer["steps"]]


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        ("publish", {"kid": "k1"}),
        ("rotate", {"kid": "k1"}),
        ("cut-over", {"kid": "k1"}),
        ("promote", {"kid": "unknown"}),
        ("retire", {"kid": "unknown"}),
        ("restore", {"kid": "k1"}),
        ("emergency", {"kid": "unknown"}),
        ("mint", {"key": "unknown"}),
    ],
)
def test_a_step_that_makes_no_sense_now_is_a_conflict(control: Control, operation: str, values: dict[str, Any]) -> None:
    """It is refused, nothing changes, and nobody believes in a rollover that never took place."""
    assert (409, "conflict") == refused(control, operation, values)


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        ("promote", {}),
        ("retire", {"kid": None}),
        ("publish", {"kid": ""}),
        ("publish", {"kid": "k" * 257}),
        ("publish", {"kid": 7}),
        ("publish", {"algorithm": "none"}),
        ("publish", {"algorithm": ["ES256"]}),
        ("rotate", {"kids": "k2"}),
        ("reset", {"kid": "k2"}),
        ("shuffle", {"seed": 1.5}),
        ("shuffle", {"seed": True}),
        ("shuffle", {"seed": -1}),
        ("mint", {"lifetime": "long"}),
        ("mint", {"lifetime": 1e10}),
        ("mint", {"audience": [1]}),
        ("mint", {"audience": ["a"] * 101}),
        ("mint", {"scopes": {}}),
        ("mint", {"headers": []}),
        ("mint", {"claims": "x"}),
        ("mint", {"claims": {"audience": "x"}}),
        ("mint", {"claims": {"self": "x"}}),
        ("mint", {"expires": 1}),
        ("mint", {"bad": "unknown"}),
        ("mint", {"bad": "expired", "subject": "alice"}),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(control: Control, operation: str, values: dict[str, Any]) -> None:
    """Unknown members and members of the wrong kind are told, and nothing happens."""
    assert (400, "invalid_request") == refused(control, operation, values)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"x",
        b'{"kid": "a", "kid": "b"}',
        b'{"n": NaN}',
        b'{"claims": {"n": 1e400}}',
        b"\xff",
        b'{"a":' * 17 + b"1" + b"}" * 17,
        b"{} {}",
    ],
)
def test_a_body_is_one_json_object(body: bytes) -> None:
    """JSON is read as strictly as a token's; a repeated member is no object."""
    with pytest.raises(RefusedError) as caught:
        read_members(body)
    assert 400 == caught.value.status


def test_an_empty_body_has_no_members() -> None:
    """An operation without settings needs none."""
    assert {} == read_members(b"") == read_members(b" \n")


def test_a_token_is_what_was_asked_for(control: Control) -> None:
    """Claims, header, key and lifetime are the caller's; what the answer tells is what the token says."""
    control.act("publish", {})
    wish = {
        "subject": "bob",
        "audience": ["api://a", "api://b"],
        "scopes": ["read", "write"],
        "roles": "admin",
        "lifetime": -60,
        "key": "k2",
        "headers": {"typ": "at+jwt"},
        "claims": {"email": "bob@example.com", "iat": 7, "sub": None},
    }
    answer = control.mint(wish)
    assert {"alg": "ES256", "typ": "at+jwt", "kid": "k2"} == answer["header"]
    assert (["api://a", "api://b"], "read write", ["admin"], "bob@example.com", 7) == tuple(
        answer["claims"][name] for name in ("aud", "scope", "roles", "email", "iat")
    )
    assert "sub" not in answer["claims"]
    assert 3 == len(answer["token"].split("."))


def test_every_bad_token_is_refused_as_it_says(control: Control) -> None:
    """The error that goes with a bad token is the one that a validator raises; its own keys stay good."""
    for name in BAD_TOKENS:
        answer = control.mint({"bad": name})
        with pytest.raises(InvalidTokenError) as caught:
            validator(control).validate(answer["token"])
        assert (name, answer["error"]) == (answer["bad"], caught.value.code)
        assert answer["why"]
    assert "k1" == validator(control).validate(control.mint({})["token"]).key_id


def test_a_refusal_names_what_there_is(control: Control) -> None:
    """Whoever misspells a member is told every member that there is."""
    with pytest.raises(RefusedError, match="expected one of bad, subject, audience, scopes, roles, key, headers, lifetime, claims$"):
        control.mint({"subjekt": "alice"})


def test_entries_that_bad_tokens_need_are_shown(control: Control) -> None:
    """A strange entry of the key set is in the state, apart from the issuer's keys, until a cut-over."""
    for name in BAD_TOKENS:
        control.mint({"bad": name})
    assert [] != control.state()["other_entries"]
    assert {"k1": ("published", True)} == keys(control)
    assert [] == control.act("cut-over", {})["other_entries"]


def test_the_state_is_json_and_holds_no_secret(control: Control) -> None:
    """It tells public things alone: no private number, no token."""
    control.mint({})
    text = json.dumps(control.state())
    assert "eyJ" not in text
    assert '"d"' not in text


def test_requests_are_counted_and_the_last_ones_remembered(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account holds so many requests and counts them all; header fields, which may hold secrets, are not kept."""
    monkeypatch.setattr(issuer_module, "MOST_REQUESTS", 3)
    for number in range(5):
        control.issuer.documents_at(Request("GET", "/jwks.json", f"n={number}", {"authorization": "secret"}))
    state = control.state()
    assert {"discovery": 0, "jwks": 5, "unknown": 0, "token": 0} == state["counts"]
    assert ["n=2", "n=3", "n=4"] == [request["url"].partition("?")[2] for request in state["requests"]]
    assert [3, 4, 5] == [request["number"] for request in state["requests"]]
    assert {} == control.issuer.fetches.requests[0].headers


def test_retired_keys_make_room(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many keys are known at once; the oldest retired one is forgotten first, and its kid is free again."""
    monkeypatch.setattr(issuer_module, "MOST_KEYS", 3)
    for _ in range(9):
        control.act("cut-over", {})
    assert ["k8", "k9", "k10"] == list(keys(control))
    control.act("publish", {"kid": "k2"})
    assert ["k9", "k10", "k2"] == list(keys(control))


def test_keys_in_use_are_not_forgotten(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no key is retired, a further one is refused."""
    monkeypatch.setattr(issuer_module, "MOST_KEYS", 3)
    control.act("publish", {})
    control.act("publish", {})
    assert (409, "too_many_keys") == refused(control, "publish", {})
    control.act("withhold", {"kid": "k2"})
    assert (409, "too_many_keys") == refused(control, "cut-over", {})


def test_a_signing_key_that_left_the_set_is_not_forgotten(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retired key that signs on stays."""
    monkeypatch.setattr(issuer_module, "MOST_KEYS", 2)
    control.act("retire", {"kid": "k1"})
    control.act("publish", {})
    assert (409, "too_many_keys") == refused(control, "publish", {})
    assert "k1" == control.mint({})["header"]["kid"]


def test_a_reset_is_needed_some_day(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are made without end would fill the memory; a reset begins to count anew."""
    monkeypatch.setattr(issuer_module, "MOST_MADE", 3)
    control.act("cut-over", {})
    control.act("cut-over", {})
    assert (409, "too_many_keys") == refused(control, "cut-over", {})
    control.act("reset", {})
    control.act("cut-over", {})


def test_a_step_that_fails_forgets_no_key(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is made for a key that is made, not for one that is refused."""
    monkeypatch.setattr(issuer_module, "MOST_KEYS", 2)
    control.act("cut-over", {})
    assert (409, "conflict") == refused(control, "publish", {"kid": "k2"})


def test_steps_are_forgotten(control: Control) -> None:
    """The state shows the last steps."""
    for seed in range(control_module.MOST_STEPS + 5):
        control.act("shuffle", {"seed": seed})
    assert control_module.MOST_STEPS == len(control.state()["steps"])


def test_a_reset_begins_anew(control: Control) -> None:
    """Another key under the same kid, no fault, nothing remembered; a token of before is refused."""
    old, before = control.mint({})["token"], control.state()["keys"]
    control.act("fault", {"kind": "down"})
    control.issuer.documents_at(Request("GET", "/jwks.json"))
    after = control.act("reset", {})
    assert (None, [], {"discovery": 0, "jwks": 0, "unknown": 0, "token": 0}) == (after["fault"], after["requests"], after["counts"])
    assert ["everything begins anew"] == [step["done"] for step in after["steps"]]
    assert before != after["keys"]
    with pytest.raises(InvalidTokenError):
        validator(control).validate(old)


def test_a_rotation_is_one_instant(control: Control) -> None:
    """Nobody who reads the state while others rotate sees a key that was published and does not sign yet."""
    seen: list[tuple[str, str]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            state = control.state()
            seen.append((state["signing_kid"], state["keys"][-1]["kid"]))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        control.act("rotate", {})
    done.set()
    reader.join(60)
    assert [] == [pair for pair in seen if pair[0] != pair[1]]
    assert seen
