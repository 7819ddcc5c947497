"""The fake issuer without a socket: keys, tokens, faults and the account."""

from __future__ import annotations

import base64
import gc
import json
from datetime import timedelta
from email.utils import formatdate
from typing import Any

import jwt
import pytest
from jwt.algorithms import get_default_algorithms

from keyturn.clock import SystemClock
from keyturn.errors import FetchError
from keyturn.fetching import FetchedDocument, Fetcher
from keyturn.testing import FakeClock, FakeIssuer
from keyturn.testing.keys import ALGORITHMS, mint

NOW = 1_800_000_000
DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
LONG = 60.0
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Take a token apart: header, claims, signature."""
    header, payload, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
    return json.loads(header), json.loads(payload), signature


def verifies(token: str, jwk: dict[str, Any]) -> bool:
    """Check a signature with PyJWT, which calls both curves of RFC 9864 by the older name."""
    signing_input, _, signature = token.rpartition(".")
    algorithm = get_default_algorithms()["EdDSA" if jwk["alg"] in {"Ed25519", "Ed448"} else jwk["alg"]]
    return algorithm.verify(signing_input.encode(), algorithm.from_jwk(jwk), base64.urlsafe_b64decode(signature + "=="))


def fetch(issuer: FakeIssuer, url: str | None = None, *, max_bytes: int = 524_288, deadline: float = LONG) -> FetchedDocument:
    """Fetch the key set, or *url*, without a socket."""
    headers = {"Accept": "application/json"}
    return issuer.fetcher().fetch(url or issuer.jwks_url, headers=headers, max_bytes=max_bytes, deadline=deadline)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that only the test moves."""
    return FakeClock()


@pytest.fixture
def issuer(clock: FakeClock) -> FakeIssuer:
    """An issuer on the test's clock."""
    return FakeIssuer(clock=clock)


class TestAlgorithms:
    """Every algorithm signs what its published entry verifies."""

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_published_entry_verifies(self, algorithm: str) -> None:
        """A token verifies with the JWK of its own kid, and the entry names kid, use and algorithm."""
        issuer = FakeIssuer(algorithm=algorithm)
        (entry,) = issuer.jwks()["keys"]
        token = issuer.token()
        assert verifies(token, entry)
        assert ("k1", "sig", algorithm) == (entry["kid"], entry["use"], entry["alg"])
        assert {"alg": algorithm, "typ": "JWT", "kid": "k1"} == parts(token)[0]

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_nothing_private_is_published(self, algorithm: str) -> None:
        """An entry holds public members alone (RFC 7518, section 6)."""
        assert not PRIVATE_MEMBERS & set(FakeIssuer(algorithm=algorithm).jwks()["keys"][0])

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_forged_token_does_not_verify(self, algorithm: str) -> None:
        """A forged token looks like a genuine one and fails only at its signature."""
        issuer = FakeIssuer(algorithm=algorithm, clock=FakeClock())
        forged = issuer.forge(subject="mallory")
        assert not verifies(forged, issuer.jwks()["keys"][0])
        assert parts(issuer.token(subject="mallory"))[:2] == parts(forged)[:2]

    @pytest.mark.parametrize(("algorithm", "characters"), [("ES256", 43), ("ES512", 88)])
    def test_coordinates_have_full_length(self, algorithm: str, characters: int) -> None:
        """Coordinates keep their leading zero bytes (RFC 7518, section 6.2.1.2); one key of 128 has one."""
        entries = [mint(algorithm, owner=self).public_members() for _ in range(600)]
        assert {characters} == {len(entry[name]) for entry in entries for name in "xy"}

    def test_signature_has_full_length(self, issuer: FakeIssuer) -> None:
        """Both halves of an ECDSA signature keep their leading zero bytes (RFC 7518, section 3.4); one of 128 has one."""
        assert {64} == {len(parts(issuer.token())[2]) for _ in range(600)}

    def test_pyjwt_accepts_a_token_whole(self) -> None:
        """A plain token passes another library with nothing switched off."""
        issuer = FakeIssuer()
        key = jwt.PyJWK(issuer.jwks()["keys"][0])
        assert "alice" == jwt.decode(issuer.token(), key, algorithms=["ES256"], audience="api://test", issuer="https://issuer.test")["sub"]


class TestRsaKeys:
    """RSA keys are lent, and never shared. Short ones are used here: they have a stock of their own."""

    def test_kids_have_keys_of_their_own(self) -> None:
        """Two kids of one issuer are two keys, and so are a kid's old and new material."""
        issuer = FakeIssuer(algorithm="RS256", rsa_bits=1024)
        issuer.publish("k2", "PS256")
        before = [entry["n"] for entry in issuer.jwks()["keys"]]
        issuer.replace_material("k1")
        assert 3 == len({*before, *(entry["n"] for entry in issuer.jwks()["keys"])})

    def test_living_issuers_share_no_key(self) -> None:
        """Two issuers of one name have different keys, so that mixing them up cannot pass unseen (R15)."""
        one, other = (FakeIssuer(algorithm="RS256", rsa_bits=1024) for _ in range(2))
        assert one.jwks()["keys"][0]["n"] != other.jwks()["keys"][0]["n"]

    def test_keys_of_an_issuer_that_is_gone_serve_again(self) -> None:
        """A suite with many short-lived issuers makes few RSA keys."""
        gc.collect()
        seen = set()
        for _ in range(20):
            issuer = FakeIssuer(algorithm="RS256", rsa_bits=1032)
            seen.add(issuer.jwks()["keys"][0]["n"])
            del issuer
        assert 1 == len(seen)

    def test_size_by_default(self) -> None:
        """RSA keys have 2048 bits, the least that validators accept (RFC 7518, section 3.3)."""
        modulus = FakeIssuer(algorithm="RS256").jwks()["keys"][0]["n"]
        assert 2048 == int.from_bytes(base64.urlsafe_b64decode(modulus + "==")).bit_length()


class TestSteps:
    """The steps of a rollover."""

    def test_starts_with_one_key(self, issuer: FakeIssuer) -> None:
        """A new issuer publishes one key and signs with it."""
        assert (("k1",), "k1") == (issuer.published_kids, issuer.signing_kid)

    def test_planned_rollover(self, issuer: FakeIssuer) -> None:
        """A key is published, then signs, then the old one leaves: three steps, each alone."""
        seen = []
        for step, kid in ((issuer.publish, "k2"), (issuer.promote, "k2"), (issuer.retire, "k1")):
            step(kid)
            seen.append((issuer.published_kids, issuer.signing_kid, parts(issuer.token())[0]["kid"]))
        assert [(("k1", "k2"), "k1", "k1"), (("k1", "k2"), "k2", "k2"), (("k2",), "k2", "k2")] == seen

    def test_cut_over(self, issuer: FakeIssuer) -> None:
        """One step leaves only the new key, which signs; raw and withheld entries are gone too."""
        issuer.publish("k2")
        issuer.withhold("k2")
        issuer.add_entry({"kty": "odd"})
        issuer.cut_over("k3", "EdDSA")
        (entry,) = issuer.jwks()["keys"]
        assert ("k3", "k3", "EdDSA") == (entry["kid"], issuer.signing_kid, entry["alg"])
        with pytest.raises(ValueError, match="retired"):
            issuer.restore("k2")

    def test_flapping_key(self, issuer: FakeIssuer) -> None:
        """A withheld key signs on, and comes back as the same key in its old place (R10)."""
        issuer.publish("k2")
        before = issuer.jwks()
        issuer.withhold("k1")
        assert (("k2",), "k1") == (issuer.published_kids, issuer.signing_kid)
        issuer.restore("k1")
        assert before == issuer.jwks()

    def test_replaced_material(self, issuer: FakeIssuer) -> None:
        """The same kid names another key, in the same place, which signs (R12)."""
        (old,) = issuer.jwks()["keys"]
        issuer.replace_material("k1")
        (new,) = issuer.jwks()["keys"]
        token = issuer.token()
        assert ("k1", True, False) == (new["kid"], verifies(token, new), verifies(token, old))

    def test_signs_before_it_publishes(self, issuer: FakeIssuer) -> None:
        """A key that signs unpublished is published later as the same key."""
        issuer.sign_unpublished("k2", "ES384")
        token = issuer.token()
        assert (("k1",), "k2") == (issuer.published_kids, issuer.signing_kid)
        issuer.publish("k2")
        assert verifies(token, issuer.jwks()["keys"][1])

    def test_retired_key_signs_on_until_another_is_promoted(self, issuer: FakeIssuer) -> None:
        """The only signing key may leave the set; its tokens go on coming, and the set is empty."""
        issuer.retire("k1")
        assert ({"keys": []}, "k1") == (issuer.jwks(), parts(issuer.token())[0]["kid"])

    def test_kid_used_again(self, issuer: FakeIssuer) -> None:
        """A retired kid that is published again names a new key, as at issuers that number their keys."""
        (old,) = issuer.jwks()["keys"]
        issuer.publish("k2")
        issuer.promote("k2")
        issuer.retire("k1")
        issuer.publish("k1")
        new = issuer.jwks()["keys"][1]
        assert (old["kid"], False) == (new["kid"], old["x"] == new["x"])

    def test_withheld_key_can_be_retired(self, issuer: FakeIssuer) -> None:
        """A key that flaps may stay away for good."""
        issuer.withhold("k1")
        issuer.retire("k1")
        with pytest.raises(ValueError, match='kid "k1" is retired, expected withheld'):
            issuer.restore("k1")

    def test_shuffle(self, issuer: FakeIssuer) -> None:
        """A seed gives one order; the entries stay the same, and some seed changes their order (R2)."""
        for kid in ("k2", "k3", "k4"):
            issuer.publish(kid)
        orders = set()
        for seed in range(10):
            issuer.shuffle(seed)
            orders.add(issuer.published_kids)
            assert ["k1", "k2", "k3", "k4"] == sorted(issuer.published_kids)
        other = FakeIssuer()
        for kid in ("k2", "k3", "k4"):
            other.publish(kid)
        for seed in range(10):
            other.shuffle(seed)
        assert len(orders) > 2
        assert issuer.published_kids == other.published_kids

    def test_members_of_an_entry(self, issuer: FakeIssuer) -> None:
        """Members can be added, replaced and left out; the token carries the kid of its entry."""
        issuer.publish("k2", kid=None, alg=None, use="enc", x5t="abc")
        issuer.publish("k3", kid="k1")
        _, second, third = issuer.jwks()["keys"]
        assert {"kty", "crv", "x", "y", "use", "x5t"} == set(second)
        assert ("enc", "k1") == (second["use"], third["kid"])
        assert {"alg": "ES256", "typ": "JWT"} == parts(issuer.token(key="k2"))[0]
        assert "k1" == parts(issuer.token(key="k3"))[0]["kid"]
        assert ("k1", "k2", "k3") == issuer.published_kids

    @pytest.mark.parametrize("entry", [None, "text", 7, [], {}, {"kty": "RSA", "n": 5}, {"kty": "oct", "k": "AAAA", "kid": "k9"}])
    def test_raw_entry(self, issuer: FakeIssuer, entry: object) -> None:
        """Whatever JSON can express is published as it is, behind the other entries."""
        issuer.add_entry(entry)
        assert [issuer.jwks()["keys"][0], entry] == issuer.jwks()["keys"]

    def test_raw_entries_can_be_dropped(self, issuer: FakeIssuer) -> None:
        """Keys stay where they are, and sign on."""
        issuer.add_entry({"kty": "odd"})
        issuer.publish("k2")
        issuer.drop_entries()
        assert (["k1", "k2"], "k1") == ([entry["kid"] for entry in issuer.jwks()["keys"]], issuer.signing_kid)

    def test_what_is_handed_out_is_a_copy(self, issuer: FakeIssuer) -> None:
        """Nobody changes the issuer by changing what it gave or was given."""
        chain = ["cert"]
        entry = {"kty": "odd", "x5c": chain}
        issuer.publish("k2", x5c=chain)
        issuer.add_entry(entry)
        chain.append("other")
        issuer.jwks()["keys"][1]["x5c"].append("third")
        issuer.jwks()["keys"][2]["x5c"].append("third")
        assert [["cert"], ["cert"]] == [entry["x5c"] for entry in issuer.jwks()["keys"][1:]]

    @pytest.mark.parametrize(
        ("step", "words"),
        [
            (lambda i: i.publish("k1"), 'kid "k1" is taken by a key that is published and signs, expected a new kid'),
            (lambda i: i.publish("k0"), 'kid "k0" is taken by a key that is withheld'),
            (lambda i: i.cut_over("k1"), "is taken"),
            (lambda i: i.sign_unpublished("k1"), "is taken"),
            (lambda i: (i.retire("k1"), i.publish("k1")), "retired and signs"),
            (lambda i: (i.sign_unpublished("k2"), i.publish("k2", "RS256")), "signs with ES256 already"),
            (lambda i: i.publish("k2", "HS256"), 'algorithm is "HS256", expected one of ES256'),
            (lambda i: i.promote("k9"), 'kid "k9" is unknown, expected one of "k1", "k0"'),
            (lambda i: i.promote("k0"), "is withheld, expected published"),
            (lambda i: i.retire("k9"), "unknown"),
            (lambda i: (i.retire("k0"), i.retire("k0")), "is retired, expected published"),
            (lambda i: i.withhold("k0"), "is withheld, expected published"),
            (lambda i: i.restore("k1"), "is published, expected withheld"),
            (lambda i: i.replace_material("k9"), "unknown"),
            (lambda i: i.add_entry({1, 2}), "entry is not JSON"),
            (lambda i: i.token(key="k9"), "unknown"),
            (lambda i: i.encode({}, {}, key="k9"), "unknown"),
            (lambda i: i.down(document="keys"), 'document is "keys", expected "jwks", "discovery" or "both", or "metadata"'),
            (lambda i: i.slow(-1), "seconds is -1"),
            (lambda i: i.fetches.expect(), "no count"),
            (lambda i: FakeIssuer("issuer.test"), 'issuer is "issuer.test", expected a URL'),
            (lambda i: FakeIssuer(algorithm="none"), 'algorithm is "none"'),
        ],
    )
    def test_misuse(self, issuer: FakeIssuer, step, words: str) -> None:
        """A step that makes no sense is told, and changes nothing that is published."""
        issuer.publish("k0")
        issuer.withhold("k0")
        with pytest.raises(ValueError, match=words):
            step(issuer)

    def test_refused_cut_over_changes_nothing(self, issuer: FakeIssuer) -> None:
        """A step is done whole or not at all."""
        issuer.publish("k2")
        before = issuer.jwks()
        with pytest.raises(ValueError, match="taken"):
            issuer.cut_over("k2")
        assert (before, "k1") == (issuer.jwks(), issuer.signing_kid)


class TestTokens:
    """What tokens hold."""

    def test_claims_by_default(self, issuer: FakeIssuer) -> None:
        """A plain token says who issued it, for whom, about whom and until when, by the issuer's clock."""
        expected = {"iss": "https://issuer.test", "sub": "alice", "aud": "api://test", "iat": NOW, "exp": NOW + 3600}
        assert expected == parts(issuer.token())[1]

    def test_claims_as_asked(self, issuer: FakeIssuer, clock: FakeClock) -> None:
        """Each argument becomes its claim, and further claims are added or win."""
        clock.advance(1.75)
        token = issuer.token(
            subject="bob",
            audience=["a", "b"],
            scopes=["orders:read", "orders:write"],
            roles=("admin",),
            lifetime=timedelta(days=3),
            iss="other",
            email="bob@example.test",
        )
        expected = {
            "iss": "other",
            "sub": "bob",
            "aud": ["a", "b"],
            "scope": "orders:read orders:write",
            "roles": ["admin"],
            "iat": NOW + 1,
            "exp": NOW + 1 + 259_200,
            "email": "bob@example.test",
        }
        assert expected == parts(token)[1]

    @pytest.mark.parametrize(("lifetime", "exp"), [(-1, NOW - 1), (0.5, NOW + 0.5), (60.0, NOW + 60), (timedelta(0), NOW)])
    def test_lifetime(self, issuer: FakeIssuer, lifetime: float | timedelta, exp: float) -> None:
        """A lifetime may be negative or a fraction; whole seconds stay whole."""
        claims = parts(issuer.token(lifetime=lifetime))[1]
        assert (exp, type(exp)) == (claims["exp"], type(claims["exp"]))

    def test_none_leaves_a_claim_out(self, issuer: FakeIssuer) -> None:
        """A claim that is None is absent, ours and others."""
        assert {"iat": NOW} == parts(issuer.token(subject=None, iss=None, aud=None, exp=None, email=None))[1]

    def test_scopes_as_text(self, issuer: FakeIssuer) -> None:
        """Scopes in one string are written as they are."""
        assert "a b" == parts(issuer.token(scopes="a b"))[1]["scope"]

    def test_headers(self, issuer: FakeIssuer) -> None:
        """Header parameters are added, replaced, or left out by None, and do not choose how to sign."""
        token = issuer.token(headers={"typ": "at+jwt", "kid": None, "alg": "RS256", "x": [1]})
        assert {"alg": "RS256", "typ": "at+jwt", "x": [1]} == parts(token)[0]

    def test_signs_with_a_named_key(self, issuer: FakeIssuer) -> None:
        """A retired key can still sign: old tokens and stolen keys need it."""
        (old,) = issuer.jwks()["keys"]
        issuer.cut_over("k2")
        token = issuer.token(key="k1")
        assert ("k1", True) == (parts(token)[0]["kid"], verifies(token, old))

    def test_forged_under_an_unknown_kid(self, issuer: FakeIssuer) -> None:
        """A forged token may claim any kid, known or not, and takes what a token takes."""
        issuer.publish("k2", "EdDSA")
        forged = [parts(issuer.forge(key=kid, subject="mallory", headers={"x": 1})) for kid in ("nobody", "k2")]
        assert [
            {"alg": "ES256", "typ": "JWT", "kid": "nobody", "x": 1},
            {"alg": "EdDSA", "typ": "JWT", "kid": "k2", "x": 1},
        ] == [header for header, _, _ in forged]
        assert {"mallory"} == {claims["sub"] for _, claims, _ in forged}

    def test_strangers_key_is_never_published(self) -> None:
        """No issuer publishes the key that forged tokens are signed with, RSA included, although keys are lent."""
        issuers = [FakeIssuer(algorithm="RS256") for _ in range(3)]
        forged = issuers[0].forge()
        assert not any(verifies(forged, issuer.jwks()["keys"][0]) for issuer in issuers)

    def test_encode_takes_bytes_as_they_are(self, issuer: FakeIssuer) -> None:
        """Hostile parts go in byte for byte, signed or with any signature."""
        twice = b'{"alg":"ES256","alg":"none"}'
        token = issuer.encode(twice, b"\xff not json")
        assert verifies(token, issuer.jwks()["keys"][0])
        raw = [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]
        assert [twice, b"\xff not json"] == raw[:2]

    def test_encode_with_a_given_signature(self, issuer: FakeIssuer) -> None:
        """A signature can be empty or wrong; nothing is added to the header."""
        assert "e30.e30." == issuer.encode({}, {}, signature=b"")
        assert "e30.e30.AQI" == issuer.encode({}, {}, signature=b"\x01\x02")

    def test_encode_with_a_named_key(self, issuer: FakeIssuer) -> None:
        """Any key of the issuer can sign."""
        issuer.publish("k2", "EdDSA")
        assert verifies(issuer.encode({"alg": "EdDSA"}, {}, key="k2"), issuer.jwks()["keys"][1])


class TestDocuments:
    """Where the documents are, and how they are fetched."""

    @pytest.mark.parametrize(
        ("name", "base"),
        [
            (None, "https://issuer.test"),
            ("https://login.test/tenant", "https://login.test/tenant"),
            ("https://login.test/", "https://login.test"),
        ],
    )
    def test_locations(self, name: str | None, base: str) -> None:
        """The discovery document lies below the issuer, less one slash (OpenID Connect Discovery, section 4.1)."""
        issuer = FakeIssuer(name)
        document = issuer.discovery()
        assert (name or base, f"{base}/jwks.json") == (document["issuer"], document["jwks_uri"])
        assert (f"{base}/.well-known/openid-configuration", f"{base}/jwks.json") == (issuer.discovery_url, issuer.jwks_url)
        assert [issuer.discovery(), issuer.jwks()] == [json.loads(fetch(issuer, url).body) for url in (issuer.discovery_url, issuer.jwks_url)]

    def test_fetcher_keeps_the_protocol(self, issuer: FakeIssuer) -> None:
        """It stands where a fetcher is asked for, and answers as one without a socket does."""
        answer = fetch(issuer)
        assert isinstance(issuer.fetcher(), Fetcher)
        assert ({"content-type": "application/json", "date": DATE}, None, 200) == (answer.headers, answer.address, answer.status)

    def test_other_locations_are_not_found(self, issuer: FakeIssuer) -> None:
        """Any other location answers 404 and is counted, but for neither document."""
        with pytest.raises(FetchError, match="answered 404, expected 200"):
            fetch(issuer, "https://elsewhere.test/jwks.json")
        issuer.fetches.expect(discovery=0, jwks=0)
        assert ["unknown"] == [request.document for request in issuer.fetches.requests]

    def test_query_names_the_same_document(self, issuer: FakeIssuer) -> None:
        """A query does not hide a document, as at issuers that take an application's id there."""
        fetch(issuer, issuer.jwks_url + "?appid=1")
        issuer.fetches.expect(jwks=1)

    def test_length_limit(self, issuer: FakeIssuer) -> None:
        """A body of exactly the limit is read, one byte more is refused (R16)."""
        body = b'{"keys":[]}'
        with issuer.answer(body):
            assert body == fetch(issuer, max_bytes=len(body)).body
            with pytest.raises(FetchError, match="max_document_bytes"):
                fetch(issuer, max_bytes=len(body) - 1)

    def test_clock_by_default(self) -> None:
        """Without a clock of the test an issuer lives in real time."""
        assert isinstance(FakeIssuer().clock, SystemClock)

    def test_repr(self, issuer: FakeIssuer) -> None:
        """A failing test shows which keys were in play."""
        assert "<FakeIssuer https://issuer.test signing='k1' published=['k1']>" == repr(issuer)


class TestFaults:
    """Faults without a socket; those that need a second thread stand among the integration tests."""

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            (lambda i: i.down(), "answered 503, expected 200"),
            (lambda i: i.down(status=404), "answered 404"),
            (lambda i: i.answer(b"", 302, {"Location": "https://other.test"}), "points to"),
            (lambda i: i.answer(b"", headers={"Content-Encoding": "gzip"}), "content encoding"),
            (lambda i: i.drop_connection(), "dropped the connection"),
            (lambda i: i.slow(LONG), r"no whole answer within 0\.01 s \(setting: deadline\)"),
            (lambda i: i.gate(), r"no whole answer within 0\.01 s \(setting: deadline\)"),
        ],
    )
    def test_fails_and_is_restored(self, issuer: FakeIssuer, fault, words: str) -> None:
        """A fault is told as the fetch error of a real fetch, is counted, and ends with its context."""
        with fault(issuer), pytest.raises(FetchError, match=words):
            fetch(issuer, deadline=0.01)
        assert issuer.jwks() == json.loads(fetch(issuer).body)
        issuer.fetches.expect(jwks=2)

    @pytest.mark.parametrize(
        ("retry_after", "seconds"),
        [(None, None), (120, 120), (119.5, 120), (60.0, 60), ("120", 120), (formatdate(NOW + 90, usegmt=True), 90), ("soon", None), ("-5", None)],
    )
    def test_retry_after(self, issuer: FakeIssuer, retry_after: float | str | None, seconds: int | None) -> None:
        """Retry-After is seconds or a date by the issuer's clock; anything else says nothing (RFC 9110, section 10.2.3)."""
        with issuer.down(retry_after=retry_after), pytest.raises(FetchError) as caught:
            fetch(issuer)
        assert seconds == caught.value.retry_after

    @pytest.mark.parametrize(
        ("document", "failing"),
        [("jwks", ["jwks"]), ("discovery", ["discovery"]), ("both", ["discovery", "jwks"])],
    )
    def test_document(self, issuer: FakeIssuer, document, failing: list[str]) -> None:
        """A fault hits the document that it is for, and no other."""
        failed = []
        with issuer.down(document=document):
            for name, url in (("discovery", issuer.discovery_url), ("jwks", issuer.jwks_url)):
                try:
                    fetch(issuer, url)
                except FetchError:
                    failed.append(name)
        assert failing == failed

    def test_any_body(self, issuer: FakeIssuer) -> None:
        """An answer is handed over as told, whatever is published."""
        with issuer.answer(b"<html>", headers={"Content-Type": "text/html", "X-Odd": "1"}):
            answer = fetch(issuer)
        assert (b"<html>", {"content-type": "text/html", "x-odd": "1", "date": DATE}) == (answer.body, answer.headers)

    def test_innermost_wins(self, issuer: FakeIssuer) -> None:
        """Of two answers the one entered last counts, and the outer one is back when it ends."""
        with issuer.down(500):
            with issuer.answer(b"inner"):
                assert b"inner" == fetch(issuer).body
            with pytest.raises(FetchError, match="answered 500"):
                fetch(issuer)
        assert issuer.jwks() == json.loads(fetch(issuer).body)

    def test_delay_leads_on_to_the_fault_outside(self, issuer: FakeIssuer) -> None:
        """A gate holds a request, and what lies outside of it answers; the other way round nothing is held."""
        with issuer.down(500), issuer.gate() as gate:
            gate.open()
            with pytest.raises(FetchError, match="answered 500"):
                fetch(issuer)
            assert 1 == gate.arrived
        with issuer.gate() as gate, issuer.down(500):
            with pytest.raises(FetchError, match="answered 500"):
                fetch(issuer)
            assert 0 == gate.arrived

    def test_faults_may_end_in_any_order(self, issuer: FakeIssuer) -> None:
        """Leaving an outer context first leaves the inner fault in force."""
        outer, inner = issuer.down(500), issuer.answer(b"inner")
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        assert b"inner" == fetch(issuer).body
        inner.__exit__(None, None, None)
        assert issuer.jwks() == json.loads(fetch(issuer).body)

    def test_fault_ends_with_an_exception(self, issuer: FakeIssuer) -> None:
        """A failing test leaves no fault behind."""
        with pytest.raises(ZeroDivisionError), issuer.down():
            raise ZeroDivisionError
        assert 200 == fetch(issuer).status

    def test_short_delay_is_only_a_delay(self, issuer: FakeIssuer) -> None:
        """An answer that comes within the deadline is whole."""
        with issuer.slow(0.001):
            assert issuer.jwks() == json.loads(fetch(issuer).body)

    def test_gate_that_nobody_comes_to(self, issuer: FakeIssuer) -> None:
        """Waiting for an arrival ends with the answer that there was none."""
        with issuer.gate() as gate:
            assert not gate.wait_for_arrival(timeout=0.001)


class TestAccount:
    """What was asked of the issuer."""

    def test_counts(self, issuer: FakeIssuer) -> None:
        """Every request is counted by its document, answered or not."""
        fetch(issuer, issuer.discovery_url)
        fetch(issuer)
        with issuer.drop_connection(), pytest.raises(FetchError):
            fetch(issuer)
        assert (1, 2) == (issuer.fetches.discovery, issuer.fetches.jwks)
        issuer.fetches.expect(discovery=1)
        issuer.fetches.expect(jwks=2)

    def test_requests(self, issuer: FakeIssuer, clock: FakeClock) -> None:
        """A request is entered with its time, location, headers and outcome."""
        clock.advance(minutes=5)
        fetch(issuer)
        (request,) = issuer.fetches.requests
        length = len(json.dumps(issuer.jwks(), separators=(",", ":")))
        assert (1, 300.0, "jwks", issuer.jwks_url) == (request.number, request.at, request.document, request.url)
        assert ({"accept": "application/json"}, f"200, {length} bytes") == (request.headers, request.outcome)

    def test_failure_lists_the_requests(self, issuer: FakeIssuer, clock: FakeClock) -> None:
        """A wrong count is told with every request: when, what, and what became of it."""
        fetch(issuer, issuer.discovery_url)
        clock.advance(hours=24)
        faults = [issuer.down(429), issuer.drop_connection(), issuer.slow(LONG)]
        for fault in faults:
            with fault, pytest.raises(FetchError):
                fetch(issuer, deadline=0.01)
        with pytest.raises(AssertionError) as caught:
            issuer.fetches.expect(discovery=2, jwks=1)
        head, title, *lines = str(caught.value).splitlines()
        assert "expected 2 discovery requests, got 1; expected 1 jwks request, got 3" == head
        assert title.startswith("4 received")
        assert [
            ["1", "+0.000", "s", "discovery", "200,"],
            ["2", "+86400.000", "s", "jwks", "429,"],
            ["3", "+86400.000", "s", "jwks", "connection"],
            ["4", "+86400.000", "s", "jwks", "not"],
        ] == [line.split()[:5] for line in lines]

    def test_failure_without_requests(self, issuer: FakeIssuer) -> None:
        """An issuer that nobody asked says so."""
        with pytest.raises(AssertionError, match="expected 1 jwks request, got 0\nno request was received"):
            issuer.fetches.expect(jwks=1)

    def test_clear(self, issuer: FakeIssuer) -> None:
        """Clearing forgets the requests, and numbers go on."""
        fetch(issuer)
        issuer.fetches.clear()
        issuer.fetches.expect(discovery=0, jwks=0)
        fetch(issuer)
        assert [2] == [request.number for request in issuer.fetches.requests]
