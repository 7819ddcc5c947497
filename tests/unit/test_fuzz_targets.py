"""The fuzzing itself: its targets hold on what they begin with, their checks see a breach, and a find is never lost.

The engine is not needed here: its process is not started, and blind changes are made by a stand-in.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fuzz import discovery, json_edits, key_sets, metadata_documents, platforms, replaying, running, tokens, xml_edits
from tests.fuzz.fixed_keys import FixedKey
from tests.fuzz.folders import Folders
from tests.fuzz.running import Progress
from tests.fuzz.target import Broken, Target, outcome
from tests.fuzz.targets import TARGETS

from keyturn import DiscoveryDocument, KeySet, MalformedTokenError, ValidatedToken

EVERY = 19
"""Of the seeds one in nineteen is judged here: some of every class, in a second."""


def blind(chance: random.Random) -> Callable[[bytes, int], bytes]:
    """Return a stand-in for the engine's blind changes."""

    def changed(data: bytes, limit: int) -> bytes:
        place = chance.randrange(len(data) + 1)
        return (data[:place] + chance.randbytes(2) + data[place + 1 :])[:limit]

    return changed


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_on_what_it_begins_with(name: str) -> None:
    """Good and hostile seeds alike pass the check; some are accepted and some are not, so that both sides are explored."""
    verdicts = {TARGETS[name].check(seed) for seed in list(TARGETS[name].seeds())[::EVERY]}
    assert {True, False} == verdicts


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds_hold_as_well(name: str) -> None:
    """Changes keep to the length that they may have, can be repeated, and their outcome passes the check."""
    target = TARGETS[name]
    seeds = list(target.seeds())
    for number in range(60):
        data = random.Random(number).choice(seeds)
        first, second = (target.mutate(data, 4_096, chance := random.Random(number), blind(chance))[:4_096] for _ in range(2))
        assert _unsalted(name, first) == _unsalted(name, second)
        target.check(first)


def _unsalted(name: str, data: bytes) -> bytes:
    """Return what can be repeated: of a token that which is signed, because the salt of PSS is drawn."""
    return data.rpartition(b".")[0] if name == "token" else data


def test_changed_tokens_get_past_their_form() -> None:
    """Of the changed tokens many are signed by a key of the set, so that what lies behind the signature is explored, too."""
    seeds = list(tokens.seeds())[:20]
    changed = [tokens.mutate(random.Random(n).choice(seeds), tokens.LONGEST, chance := random.Random(n), blind(chance)) for n in range(200)]
    assert sum(map(_is_signed, changed)) > 50


def _is_signed(token: bytes) -> bool:
    try:
        tokens.require_signed(token.decode())
    except (Broken, ValueError, KeyError, AttributeError, TypeError):
        return False
    return True


def test_a_forged_token_would_be_noticed() -> None:
    """A changed signature, another spelling of one, and a fourth segment are what no key signed."""
    good = next(tokens.seeds()).decode()
    tokens.require_signed(good)
    head, _, signature = good.rpartition(".")
    for forged in (f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}", f"{good}=", f"{good}.", f"{head}.{signature[:-4]}"):
        with pytest.raises((Broken, ValueError)):
            tokens.require_signed(forged)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://issuer.test/"},
        {"aud": ["api://other"]},
        {"exp": tokens.NOW - 60},
        {"exp": float("inf")},
        {"exp": True},
        {"nbf": tokens.NOW + 61},
        {"cnf": {}},
    ],
    ids=str,
)
def test_claims_that_must_be_refused_would_be_noticed(change: dict[str, object]) -> None:
    """What a validator must not accept is told without the code that is tested."""
    claims = {"iss": tokens.ISSUER, "aud": tokens.AUDIENCE, "exp": tokens.NOW + 60}
    tokens.require_good(ValidatedToken(claims, {"alg": "ES256"}, "k1"))
    with pytest.raises(Broken):
        tokens.require_good(ValidatedToken({**claims, **change}, {"alg": "ES256"}, "k1"))


def test_a_set_that_depends_on_its_order_would_be_noticed() -> None:
    """The comparison with another order and another print sees a key too many."""
    found = KeySet.from_jwks(tokens.jwks())
    fewer = json.dumps({"keys": json.loads(tokens.jwks())["keys"][1:]}).encode()
    key_sets.require_same(tokens.jwks(), found)
    with pytest.raises(Broken):
        key_sets.require_same(fewer, found)


def test_a_location_with_two_meanings_would_be_noticed() -> None:
    """Another host, clear text, a user and a fragment are seen."""
    discovery.require_one_meaning("https://issuer.test:443/jwks?a=b")
    for url in ("http://issuer.test/", "https://a@issuer.test/", "https://issuer.test/#a"):
        with pytest.raises(Broken):
            discovery.require_one_meaning(url)


def test_a_key_that_the_pinned_signer_did_not_sign_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the wrong expectation of who signed what, a good document is a breach."""
    document = next(metadata_documents.seeds())
    assert metadata_documents.check(document)
    swapped = {**metadata_documents.certificates(), "issuer": metadata_documents.certificates()["mallory"]}
    monkeypatch.setattr(metadata_documents, "certificates", lambda: swapped)
    with pytest.raises(Broken, match="did not sign"):
        metadata_documents.check(document)


def test_an_error_that_no_log_should_hold_is_a_breach() -> None:
    """Control characters and endless messages are noticed, and any other exception is let through."""

    def failing(error: Exception) -> object:
        def call() -> object:
            raise error

        return outcome(call)

    assert isinstance(failing(MalformedTokenError("plain")), MalformedTokenError)
    for text in ("\x1b[2J", "x" * 5_000):
        with pytest.raises(Broken):
            failing(MalformedTokenError(text))
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_keys_are_the_same_in_every_process() -> None:
    """A find can be found again: a name stands for one key, and the same signature is made of it each time, PSS apart."""
    first, second = FixedKey("a", "ES256"), FixedKey("a", "ES256")
    assert first.public_members() == second.public_members() != FixedKey("b", "ES256").public_members()
    assert first.sign(b"x") == second.sign(b"x")
    assert "qkZE6a1_zQCT1JdkJKlI8LgQ2vZ41099Pp8Plj6hzHc" == FixedKey("x", "ES256").public_members()["x"]


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA", "Ed448"])
def test_who_signed_is_found_out(algorithm: str) -> None:
    """A key knows its own signatures, and no other."""
    key = FixedKey("k", algorithm)
    signature = key.sign_as(algorithm, b"text")
    assert key.signed(algorithm, b"text", signature)
    assert not key.signed(algorithm, b"another text", signature)
    assert not key.signed(algorithm, b"text", signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not key.signed("HS256", b"text", signature)


def test_json_is_printed_as_it_was_read() -> None:
    """Repeated names, their order and every kind of value survive; what is too deep to be read is no JSON to edit."""
    text = b'{"a":1,"a":[null,true,-1.5,"\\u00e9"],"b":{}}'
    assert text == json_edits.printed(json_edits.parsed(text))
    assert 10**400 == json.loads(json_edits.printed(10**400))
    with pytest.raises(ValueError, match="too deep"):
        json_edits.parsed(b"[" * 200_000)


def test_elements_are_taken_whole() -> None:
    """An edit of XML takes, repeats and moves an element with everything inside, so that tags stay in pairs."""
    made = {xml_edits.edited("<a><b><c/></b><d/></a>", random.Random(n), ["w"], ["<f/>"]) for n in range(200)}
    assert {"<a><d/></a>", "<a><b><c/></b><b><c/></b><d/></a>"} <= made


def _target(**parts: object) -> Target:
    settings = {"name": "t", "read": lambda data: None, "check": lambda data: True, "seeds": lambda: iter([b"a"]), "mutate": None, "words": ()}
    return Target(**{**settings, "longest": 100, **parts})


def test_what_was_found_is_a_seed_of_the_next_run(tmp_path: Path) -> None:
    """A find is found again until it is mended, and forgotten when it is; seeds of an earlier run do not pile up."""
    folders = Folders(tmp_path, "t")
    folders.prepare([b"a", b"b"], ["w", "\ud800"])
    folders.keep("slow", b"find")
    folders.prepare([b"a"], ["w"])
    assert [] == folders.found()
    assert {b"a", b"find"} == {path.read_bytes() for path in folders.inputs()}


@pytest.mark.parametrize(
    ("kind", "parts", "bound"),
    [
        ("broken", {"check": lambda data: (_ for _ in ()).throw(Broken("promise"))}, {}),
        ("slow", {}, {"MOST_SECONDS": -1.0}),
        ("large", {"read": lambda data: bytearray(2_000)}, {"MOST_BYTES": 1_000}),
    ],
)
def test_a_replay_writes_down_who_is_over_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, parts: dict[str, object], bound: dict[str, float]
) -> None:
    """A broken promise, a slow input and a large one are finds, each in a file of its own; without any there is none."""
    folders = Folders(tmp_path, "t")
    folders.prepare([b"a"], [])
    assert [] == replaying.replay(_target(), folders).finds
    for name, value in bound.items():
        monkeypatch.setattr(replaying, name, value)
    (find,) = replaying.replay(_target(**parts), folders).finds
    assert find in folders.found()
    assert (kind, b"a") == (find.name.partition("-")[0], find.read_bytes())


def test_a_replay_sees_what_is_left_behind(tmp_path: Path) -> None:
    """Memory that a second round does not give back is counted."""
    kept: list[bytes] = []
    folders = Folders(tmp_path, "t")
    folders.prepare([b"a"], [])
    assert replaying.replay(_target(read=lambda data: kept.append(bytes(5_000))), folders).left >= 5_000


def test_the_engines_lines_are_read() -> None:
    """Progress while it runs, and the figures at the end."""
    progress = Progress()
    running.read_line("#512\tINITED cov: 900 ft: 1500 corp: 120/35Kb exec/s: 0 rss: 70Mb", progress)
    running.read_line("#8192\tNEW    cov: 930 ft: 1600 corp: 140/36Kb lim: 16448 exec/s: 2048 rss: 91Mb L: 3/7 MS: 2 Custom-", progress)
    running.read_line("INFO: Seed: 1849816196", progress)
    assert Progress(8_192, 930, 1_600, 140, 0, 70, 91) == progress
    for line in ("stat::number_of_executed_units: 9000", "stat::new_units_added: 20", "stat::peak_rss_mb: 95"):
        running.read_line(line, progress)
    assert Progress(9_000, 930, 1_600, 140, 20, 70, 95) == progress
    assert ["==1== ERROR", "why"] == running.traceback_of(["#1 x", "==1== ERROR", "", "why", "stat::peak_rss_mb: 1"])


@pytest.mark.parametrize(
    ("here", "says"),
    [
        (((3, 11), "linux", "x86_64", "glibc"), None),
        (((3, 14), "linux", "x86_64", "glibc"), None),
        (((3, 15), "linux", "x86_64", "glibc"), "3.15"),
        (((3, 12), "linux", "aarch64", "glibc"), "aarch64"),
        (((3, 12), "linux", "x86_64", ""), "linux on x86_64"),
        (((3, 12), "darwin", "arm64", ""), "darwin"),
        (((3, 12), "win32", "AMD64", ""), "win32"),
    ],
)
def test_what_stands_in_the_way_is_named(here: tuple[tuple[int, int], str, str, str], says: str | None) -> None:
    """Where the engine has no wheel the reason is told, and nowhere else."""
    found = platforms.obstacle(*here)
    assert found is None if says is None else says in (found or "")


def test_a_document_of_another_issuer_is_no_acceptance() -> None:
    """What the check of discovery documents calls accepted is what the library hands out."""
    document = json.dumps({"issuer": discovery.ISSUER, "jwks_uri": "https://issuer.test/jwks"}).encode()
    assert isinstance(discovery.read(document), DiscoveryDocument)
    assert discovery.check(document)
    assert not discovery.check(document.replace(b"issuer.test", b"other.test"))
