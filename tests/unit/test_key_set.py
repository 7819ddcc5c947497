"""A key set: every usable entry is kept, order means nothing, a kid decides (RFC 7517, section 5; R1, R2)."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import ANY_JSON, GOOD_ENTRIES, GOOD_HEADERS, HOSTILE_ENTRIES, ODD_ENTRIES
from tests.unit.attacks_by_documents import REFUSED_SETS, bad_entries, odd_entries
from tests.unit.material import der_of, entry, header_of, key_set, keys_of, private_key, rsa_entry, x5c

from keyturn import Handle, InvalidKeySetError, KeySet, SigningKey, UnknownKeyError
from keyturn._core.key_set import storable
from keyturn.sources import StaticKeySet
from keyturn.testing.keys import base64url

DATA = b"header.payload"
BAD = dict(bad_entries())


def chosen(keys: KeySet, header: Any, signature: bytes) -> tuple[object, ...] | None:
    """Return everything that is known of the key that verifies, or None."""
    return next((key.identity for key in keys.candidates(header).keys if key.verifies(header["alg"], signature, DATA)), None)


def listed(keys: KeySet) -> list[tuple[object, ...]]:
    """Return the keys in order, with everything that tells them apart."""
    return [key.identity for key in keys.keys]


class TestEntries:
    """One bad entry takes no other along (R1)."""

    @pytest.mark.parametrize("label", BAD)
    def test_a_bad_entry_is_skipped_at_any_place(self, label: str) -> None:
        """First, in the middle, last: the good ones serve, and the bad one has its reason (AK3)."""
        good = [entry("ES256", 1, kid="a"), entry("ES384", 1, kid="b")]
        expected = listed(keys_of(*good))
        for place in range(3):
            keys = keys_of(*good[:place], BAD[label], *good[place:])
            assert expected == listed(keys)
            assert 1 == len(keys.skipped)
            assert keys.skipped[0].reason
            assert keys.skipped[0].reason.isprintable()
            assert "c2VjcmV0" not in repr(keys.skipped)

    @pytest.mark.parametrize("label", dict(odd_entries()))
    def test_an_odd_entry_serves(self, label: str) -> None:
        """What is odd and harmless is no reason to lose a key."""
        keys = keys_of(dict(odd_entries())[label], entry("ES384", kid="b"))
        assert (2, ()) == (len(keys.keys), keys.skipped)

    @pytest.mark.parametrize(
        "spoiled", ['{"kty":"EC","kty":"EC"}', '{"kty":"EC","x5c":[{"a":1,"a":1}]}', '{"kid":"a","x":{"b":{"c":1,"c":1}}}', '[{"a":1,"a":1}]']
    )
    def test_an_entry_that_repeats_a_member_is_skipped_alone(self, spoiled: str) -> None:
        """At any depth of the entry, and the others serve (Z16)."""
        text = '{"keys":[' + spoiled + "," + json.dumps(entry(kid="b")) + "]}"
        keys = KeySet.from_jwks(text)
        assert ["b"] == [key.kid for key in keys.keys]
        assert ["names a member twice"] == [skipped.reason for skipped in keys.skipped]

    @settings(max_examples=40)
    @given(st.lists(GOOD_ENTRIES | ODD_ENTRIES, min_size=1, max_size=4), st.lists(HOSTILE_ENTRIES, max_size=4), st.randoms())
    def test_hostile_entries_take_none_along(self, good: list[Any], hostile: list[Any], chance: random.Random) -> None:
        """Every key that serves without them serves with them, in whatever order they stand (R1)."""
        entries = [*good, *hostile]
        chance.shuffle(entries)
        assert set(listed(keys_of(*good))) <= set(listed(keys_of(*entries)))

    @pytest.mark.parametrize(
        ("issuer", "serves"),
        [(None, True), ("https://a.test", True), ("https://a.test/", False), ("https://b.test", False), ("HTTPS://A.TEST", False), ("", False)],
    )
    def test_a_key_of_one_issuer_serves_that_issuer(self, issuer: str | None, *, serves: bool) -> None:
        """An entry that names another issuer is skipped and says for whom it is (AK20, M33)."""
        keys = KeySet.from_jwks(key_set(entry(kid="own", issuer="https://a.test"), entry("ES384", kid="any")), issuer=issuer)
        assert serves == ("own" in {key.kid for key in keys.keys})
        assert ([] if serves else ['is published for issuer "https://a.test" alone']) == [skipped.reason for skipped in keys.skipped]


class TestRefusal:
    """A set without a usable key is no set (R12)."""

    @pytest.mark.parametrize("name", REFUSED_SETS)
    def test_a_document_that_is_no_key_set(self, name: str) -> None:
        """One error comes out for every case of the class."""
        for label, body in REFUSED_SETS[name]():
            with pytest.raises(InvalidKeySetError) as caught:
                KeySet.from_jwks(body)
            assert f"{caught.value}".isprintable(), label

    @pytest.mark.parametrize("content_type", ["text/html", "text/html; charset=utf-8"])
    def test_a_page(self, content_type: str) -> None:
        """An HTML type refuses whatever the body is (AK1)."""
        with pytest.raises(InvalidKeySetError, match="HTML"):
            KeySet.from_jwks(key_set(entry()), content_type=content_type)

    def test_the_most_entries(self) -> None:
        """Exactly as many as are allowed are read; one more refuses the whole set, since a cut would make the order count (B11)."""
        entries = [entry(kid=str(n)) for n in range(501)]
        assert 500 == len(keys_of(*entries[:500]).keys)
        with pytest.raises(InvalidKeySetError, match="501 entries; at most 500 are allowed .setting: max_keys."):
            keys_of(*entries)
        with pytest.raises(InvalidKeySetError, match="2 entries; at most 1"):
            KeySet.from_jwks(key_set(*entries[:2]), max_keys=1)

    def test_reasons_of_the_first_five(self) -> None:
        """Whoever reads the error sees why, and not a page of it."""
        with pytest.raises(InvalidKeySetError, match=r'7 entries and no usable key: one without kid is .*; "k0" has use .*; and 2 more$') as caught:
            keys_of(None, *[entry(kid=f"k{n}", use="enc") for n in range(6)])
        assert "`keyturn keys`" in caught.value.hint
        with pytest.raises(InvalidKeySetError, match=r"no usable key: one without kid .*twice$"):
            keys_of(None)

    @pytest.mark.parametrize("document", [None, 1, [1], {1, 2}, {"keys": [b"x"]}, {"keys": {1: {2}}}, object(), "\ud800", {"keys": [float("nan")]}])
    def test_what_cannot_be_json(self, document: Any) -> None:
        """A mapping of a program may hold anything; one error comes out."""
        with pytest.raises(InvalidKeySetError):
            KeySet.from_jwks(document)

    def test_a_mapping_that_holds_itself(self) -> None:
        """It would never end."""
        endless: dict[str, Any] = {}
        endless["keys"] = [endless]
        with pytest.raises(InvalidKeySetError):
            KeySet.from_jwks(endless)

    @given(st.binary(max_size=60) | ANY_JSON | ANY_JSON.map(lambda value: {"keys": value}))
    def test_any_document_is_a_set_or_the_error(self, document: Any) -> None:
        """Nothing else comes out, whatever is handed in."""
        with pytest.raises(InvalidKeySetError):
            KeySet.from_jwks(document)


@pytest.mark.parametrize("form", [lambda text: text, lambda text: text.decode(), json.loads])
def test_bytes_text_and_mapping_are_one(form) -> None:
    """The same document in three forms is the same set."""
    text = key_set(entry(kid="a"), entry("RS256", kid="b"), 5)
    assert KeySet.from_jwks(text).identity == KeySet.from_jwks(form(text)).identity


class TestChoice:
    """A kid decides; then algorithm, type and curve (R2)."""

    def test_a_kid_that_nobody_has_is_no_candidate(self) -> None:
        """Nothing falls through, not even to the only key of the set (M34, C38)."""
        keys = keys_of(entry(kid="a"))
        for kid in ("b", "A", "a ", "", "0"):
            assert 0 == keys.candidates(header_of(kid)).total
            assert None is keys.why_not(header_of(kid))
        assert 1 == keys.candidates(header_of("a")).total

    def test_an_empty_kid_is_not_an_absent_one(self) -> None:
        """It names the entry with the empty kid (AK18)."""
        keys = keys_of(entry(kid=""), entry(number=1))
        assert 1 == keys.candidates(header_of("")).total
        assert 2 == keys.candidates(header_of()).total

    def test_without_a_kid_all_that_fit(self) -> None:
        """Keys with and without kid (C38, F38); a token with a kid never falls to those without."""
        keys = keys_of(entry(kid="a"), entry(number=1), entry("ES384"))
        assert 2 == keys.candidates(header_of()).total
        assert 1 == keys.candidates(header_of("a")).total

    @pytest.mark.parametrize(
        ("alg", "kids"),
        [
            ("ES256", {"ec"}),
            ("ES384", {"ec384"}),
            ("RS256", {"rs", "free"}),
            ("PS512", {"free"}),
            ("EdDSA", {"ed"}),
            ("Ed25519", {"ed"}),
            ("Ed448", set()),
            ("none", set()),
        ],
    )
    def test_the_algorithm_must_fit(self, alg: str, kids: set[str]) -> None:
        """By the entry's own `alg` if it has one, else by type and curve (C18, M32)."""
        keys = keys_of(
            entry(kid="ec"),
            entry("ES384", kid="ec384"),
            entry("RS256", kid="rs", alg="RS256"),
            entry("RS256", 1, kid="free"),
            entry("Ed25519", kid="ed"),
        )
        assert kids == {key.kid for key in keys.candidates(header_of(algorithm=alg)).keys}

    def test_a_header_without_algorithm_fits_nothing(self) -> None:
        """Nothing is assumed."""
        assert 0 == keys_of(entry()).candidates({}).total

    @pytest.mark.parametrize("member", ["x5t", "x5t#S256"])
    def test_a_certificate_thumbprint_narrows(self, member: str) -> None:
        """Without a kid it chooses, if the set publishes any; one that nobody has is like a kid that nobody has (C38)."""
        length = {"x5t": 20, "x5t#S256": 32}[member]
        first, second = base64url(b"\1" * length), base64url(b"\2" * length)
        keys = keys_of(entry(kid="a", **{member: first}), entry(number=1, kid="b", **{member: second}), entry(number=2, kid="c"))
        assert ["a"] == [key.kid for key in keys.candidates(header_of(**{member: first})).keys]
        assert 0 == keys.candidates(header_of(**{member: base64url(b"\3" * length)})).total
        assert ["c"] == [key.kid for key in keys.candidates(header_of("c", **{member: first})).keys]
        assert Handle(member, first) == keys.handle(header_of(**{member: first}))

    def test_the_longer_thumbprint_comes_first(self) -> None:
        """`x5t#S256` is asked before `x5t`, and each only where the set publishes such (C38)."""
        der = der_of()
        keys = keys_of(entry(x5c=x5c(der)))
        (key,) = keys.keys
        both = {"x5t": key.x5t, "x5t#S256": key.x5t_s256}
        assert Handle("x5t#S256", str(key.x5t_s256)) == keys.handle(header_of(**both))
        none = keys_of(entry())
        assert Handle(None) == none.handle(header_of(**both))
        assert 1 == none.candidates(header_of(**both)).total
        short = keys_of(entry(x5t=key.x5t))
        assert Handle("x5t", str(key.x5t)) == short.handle(header_of(**both))

    def test_why_a_published_key_does_not_fit(self) -> None:
        """The operator sees "published, but unusable because" (Z12)."""
        keys = keys_of(entry(kid="good", x5t=base64url(bytes(20))), rsa_entry(35, kid="weak"), entry(kid="enc", use="enc"))
        assert 'is for ES256, and the token says "RS256"' == keys.why_not(header_of("good", "RS256"))
        assert "is an RSA key of 6 bits" in str(keys.why_not(header_of("weak", "RS256")))
        assert 'has use "enc"' in str(keys.why_not(header_of("enc")))
        assert "is for ES256" in str(keys.why_not(header_of(None, "RS256", x5t=base64url(bytes(20)))))
        assert [None, None, None] == [keys.why_not(header) for header in (header_of("good"), header_of(), header_of(None, "RS256", x5t="other"))]


class TestOrder:
    """Order means nothing (R2)."""

    @settings(max_examples=40)
    @given(st.lists(GOOD_ENTRIES | ODD_ENTRIES, min_size=1, max_size=6), st.lists(HOSTILE_ENTRIES, max_size=3), GOOD_HEADERS, st.randoms())
    def test_a_shuffled_set_is_the_same_set(self, good: list[Any], hostile: list[Any], header: Any, chance: random.Random) -> None:
        """Same keys in the same places, same candidates, same reasons, no difference between the two."""
        entries = [*good, *hostile]
        before = keys_of(*entries)
        chance.shuffle(entries)
        after = keys_of(*entries)
        assert listed(before) == listed(after)
        assert before.identity == after.identity
        assert [key.identity for key in before.candidates(header).keys] == [key.identity for key in after.candidates(header).keys]
        assert before.why_not(header) == after.why_not(header)
        difference = after.diff(before)
        assert ((), (), ()) == (difference.added, difference.removed, difference.replaced)

    @settings(max_examples=40)
    @given(st.integers(0, 19), st.randoms(), st.integers(1, 20))
    def test_decoys_never_change_the_verdict(self, signer: int, chance: random.Random, count: int) -> None:
        """Twenty keys of one kid: whether the signer is among the candidates, and is chosen, follows from the keys alone (M15, M16)."""
        entries = [entry(number=n, kid="k") for n in {signer, *range(count)}]
        signature = private_key("ES256", signer).sign(DATA)
        verdict = chosen(keys_of(*entries), header_of("k"), signature)
        for _ in range(3):
            chance.shuffle(entries)
            assert verdict == chosen(keys_of(*entries), header_of("k"), signature)
        if len(entries) <= 16:
            assert verdict is not None

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_each_of_several_keys_of_one_kid_is_tried(self, order: tuple[int, ...]) -> None:
        """Same kid and algorithm, other key: every one verifies its own signature (C34, F37, M15)."""
        keys = keys_of(*[entry(number=n, kid="k") for n in order])
        assert 3 == keys.candidates(header_of("k")).total
        assert all(chosen(keys, header_of("k"), private_key("ES256", n).sign(DATA)) for n in range(3))
        assert ("k",) == keys.ambiguous_kids

    @pytest.mark.parametrize("seed", range(5))
    def test_sixteen_are_tried_and_chosen_by_thumbprint(self, seed: int) -> None:
        """The seventeenth by thumbprint is not tried, wherever it was published, and the total says so (B12, Z14, M16)."""
        entries = [entry(number=n, kid="k") for n in range(17)]
        random.Random(seed).shuffle(entries)
        found = keys_of(*entries).candidates(header_of("k"))
        assert (16, 17) == (len(found.keys), found.total)
        assert sorted(key.thumbprint for key in keys_of(*entries).keys)[:16] == [key.thumbprint for key in found.keys]

    def test_entries_that_differ_in_a_name_alone_have_an_order_of_their_own(self) -> None:
        """Same material under no kid, an empty one and another, for several issuers, with several algorithms: no tie is left to the document."""
        rsa = [
            entry("RS256", kid="k", **more)
            for more in (
                {},
                {"issuer": "https://a.test"},
                {"issuer": "https://b.test"},
                {"cloud_instance_name": "c"},
                {"alg": "RS256"},
                {"alg": "PS256"},
            )
        ]
        ec = [entry(), entry(kid=""), entry(kid="a"), entry(kid="a", x5t=base64url(bytes(20))), entry(kid="a", **{"x5t#S256": base64url(bytes(32))})]
        expected = listed(keys_of(*rsa, *ec))
        assert 11 == len(expected)
        for seed in range(20):
            shuffled = [*rsa, *ec]
            random.Random(seed).shuffle(shuffled)
            assert expected == listed(keys_of(*shuffled))

    def test_an_entry_twice_is_one_key(self) -> None:
        """Identical entries collapse, and name no kid ambiguously (F37)."""
        keys = keys_of(entry(kid="k"), entry(kid="k"), entry(kid="k", unknown=1))
        assert 1 == len(keys.keys)
        assert () == keys.ambiguous_kids

    def test_one_kid_for_several_types_is_not_ambiguous(self) -> None:
        """What fits the header is chosen (C34)."""
        keys = keys_of(entry(kid="k"), entry("RS256", kid="k"), entry("ES384", kid="k"), entry(number=1))
        assert () == keys.ambiguous_kids
        assert [["EC"], ["RSA"]] == [[key.kty for key in keys.candidates(header_of("k", alg)).keys] for alg in ("ES256", "PS256")]

    def test_one_key_under_two_kids_is_two_keys(self) -> None:
        """Two kids, one thumbprint: each kid finds its own."""
        keys = keys_of(entry(kid="public:a"), entry(kid="private:a"))
        assert 2 == len(keys.keys)
        assert ["public:a"] == [key.kid for key in keys.candidates(header_of("public:a")).keys]


class TestDifference:
    """What a new answer brought and took."""

    @staticmethod
    def names(keys: tuple[SigningKey, ...]) -> list[str | None]:
        """Return kids."""
        return [key.kid for key in keys]

    def test_added_removed_replaced(self) -> None:
        """A kid with new material is added, removed and replaced at once (R12)."""
        older = keys_of(entry(kid="a"), entry("ES384", kid="b"), entry("RS256"))
        newer = keys_of(entry(number=1, kid="a"), entry("ES384", kid="b"), entry("ES512", kid="c"), entry("RS256", 1))
        difference = newer.diff(older)
        assert {"a", "c", None} == set(self.names(difference.added))
        assert {"a", None} == set(self.names(difference.removed))
        assert [("a", "a")] == [(old.kid, new.kid) for old, new in difference.replaced]
        assert not difference.nothing_in_common

    def test_nothing_in_common(self) -> None:
        """It is reported, and no reason to refuse; a first set is no such case."""
        older, newer = keys_of(entry(kid="a")), keys_of(entry(number=1, kid="b"))
        assert newer.diff(older).nothing_in_common
        assert not newer.diff(newer).nothing_in_common
        first = newer.diff(None)
        assert (["b"], (), False) == (self.names(first.added), first.removed, first.nothing_in_common)
        assert not newer.diff(KeySet()).nothing_in_common


def test_a_set_does_not_change() -> None:
    """It is shared by threads; `repr` shows no index."""
    keys = keys_of(entry(kid="a"))
    with pytest.raises(AttributeError):
        keys.keys = ()  # type: ignore[misc]
    assert "_by_handle" not in repr(keys)
    assert () == KeySet().keys


@given(st.lists(GOOD_ENTRIES, min_size=1, max_size=4))
def test_what_is_printed_is_the_same_set(entries: list[Any]) -> None:
    """Parse, print, parse is stable for sets as for keys."""
    before = keys_of(*entries)
    after = keys_of(*[key.public_jwk() for key in before.keys])
    assert [(key.name, key.algorithms) for key in before.keys] == [(key.name, key.algorithms) for key in after.keys]


class TestWhatMayBeKept:
    """Nothing secret goes into a store (C36)."""

    def test_a_set_without_secrets_is_kept_as_it_is(self) -> None:
        """To the byte, unknown members included."""
        document = key_set(entry(kid="a", later=[1]), None, {"kty": "unheard-of"}, hint="x")
        assert storable(document) is document

    def test_metadata_is_kept_as_it_is(self) -> None:
        """Certificates are public."""
        document = b"<EntityDescriptor/>"
        assert storable(document) is document

    @settings(max_examples=40)
    @given(st.lists(GOOD_ENTRIES, min_size=1, max_size=3), st.lists(HOSTILE_ENTRIES, max_size=4))
    def test_what_is_read_from_it_is_the_same_set(self, good: list[Any], hostile: list[Any]) -> None:
        """Same keys, same reasons, whatever was taken out."""
        document = key_set(*good, *hostile)
        assert KeySet.from_jwks(storable(document)).identity == KeySet.from_jwks(document).identity

    @pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"])
    @pytest.mark.parametrize("kty", ["EC", "oct", "AKP"])
    def test_no_secret_is_kept(self, member: str, kty: str) -> None:
        """Whatever the member is called that holds it, and where members are repeated (Z16)."""
        spoiled = f'{{"kid":"b","kty":"{kty}","{member}":"c2VjcmV0","a":1,"a":2}}'
        document = f'{{"keys":[{json.dumps(entry(kid="a"))},{json.dumps(entry(kid="b", kty=kty, **{member: ["c2VjcmV0"]}))},{spoiled}]}}'.encode()
        kept = storable(document)
        assert b"c2VjcmV0" not in kept
        found = KeySet.from_jwks(kept)
        assert found.identity == KeySet.from_jwks(document).identity
        assert [("", False), ("b", True)] == [(skipped.kid, skipped.secret) for skipped in found.skipped]


@given(st.lists(GOOD_ENTRIES, min_size=1, max_size=4), HOSTILE_ENTRIES | ODD_ENTRIES, GOOD_HEADERS)
def test_a_further_entry_takes_no_candidate_away(entries: list[Any], further: Any, header: Any) -> None:
    """Whatever is published beside them, keys that fitted fit, except that a thumbprint in the set lets one in the header narrow."""
    before, after = keys_of(*entries), keys_of(*entries, further)
    # One key under two names is one candidate, under either of them.
    fitted, fitting = ({(key.thumbprint, key.issuer, key.cloud) for key in keys.candidates(header).keys} for keys in (before, after))
    assert fitted <= fitting
    if before.candidates(header).keys:
        assert StaticKeySet(after).keys_for(header)
    elif not after.candidates(header).keys:
        with pytest.raises(UnknownKeyError):
            StaticKeySet(after).keys_for(header)
