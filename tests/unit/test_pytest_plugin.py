"""The fixtures and the marker of the pytest plugin, each in a session of its own.

Sessions run in this process, with no plugin but pytest's own and ours, and with every warning an error.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable

import pytest
from tests.test_docs import DOCS, parts, rows, snippet

from keyturn import KeySetClient, TokenValidator, _pytest_plugin
from keyturn.testing import FakeIssuer

Session = Callable[..., pytest.RunResult]
"""Runs pytest on the text of one test module; what follows goes to the command line."""

GUIDE = (DOCS / "howto/test-your-api.md").read_text(encoding="utf-8")
FIXTURES = ("fake_clock", "fake_issuer", "make_fake_issuer", "key_set_client", "token_validator")

PRELUDE = """
import threading
import unittest
import pytest
from keyturn import *
from keyturn.testing import FakeClock, FakeIssuer
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Return what runs a session."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(text: str, *options: str, prelude: str = PRELUDE) -> pytest.RunResult:
        pytester.makepyfile(test_sample=prelude + textwrap.dedent(text))
        # The inner session would take the watch over hanging tests from the outer one.
        ours = ("-p", "keyturn", "-p", "no:faulthandler", "-p", "no:cacheprovider")
        return pytester.runpytest_inprocess(*ours, "-W", "error", "-o", "strict=true", *options)

    return run


class TestFixtures:
    """What a test is given."""

    def test_they_are_wired_to_each_other(self, session: Session) -> None:
        """One clock serves all, the client reads the issuer, and the validator takes the client's keys and the issuer's audience."""
        result = session("""
            def test(fake_issuer, fake_clock, key_set_client, token_validator):
                assert fake_issuer.clock is fake_clock
                assert token_validator.client is key_set_client
                assert key_set_client.issuer == fake_issuer.issuer
                fake_issuer.fetches.expect(discovery=0, jwks=0)
                assert "alice" == token_validator.validate(fake_issuer.token(subject="alice")).subject
                fake_issuer.fetches.expect(discovery=1, jwks=1)
                with pytest.raises(InvalidAudienceError):
                    token_validator.validate(fake_issuer.token(audience="api://elsewhere"))
        """)
        result.assert_outcomes(passed=1)

    def test_time_moves_for_all_of_them(self, session: Session) -> None:
        """A token that was good is expired after a step of the one clock, and the keys are asked for again."""
        result = session("""
            def test(fake_issuer, fake_clock, token_validator):
                token = fake_issuer.token(lifetime=3600)
                token_validator.validate(token)
                fake_clock.advance(hours=2)
                with pytest.raises(ExpiredTokenError):
                    token_validator.validate(token)
                fake_clock.advance(hours=22, seconds=1)
                token_validator.validate(fake_issuer.token())
                fake_issuer.fetches.expect(jwks=2)
        """)
        result.assert_outcomes(passed=1)

    def test_each_test_has_its_own(self, session: Session) -> None:
        """What one test does to an issuer, a clock or a client is unknown to the next."""
        result = session("""
            @pytest.mark.parametrize("turn", ["first", "second"])
            def test(turn, fake_issuer, fake_clock, key_set_client, make_fake_issuer):
                assert ("k1",) == fake_issuer.published_kids
                assert 1000.0 == fake_clock.monotonic()
                assert () == key_set_client.snapshot().keys
                assert "https://issuer.test/2" == make_fake_issuer().issuer
                key_set_client.refresh()
                fake_issuer.cut_over("k2")
                fake_clock.advance(5)
        """)
        result.assert_outcomes(passed=2)

    def test_further_issuers_are_on_the_same_clock(self, session: Session) -> None:
        """They have names of their own, the settings that they are given, and kids that other issuers have as well."""
        result = session("""
            def test(make_fake_issuer, fake_issuer, fake_clock):
                second, third, billing = make_fake_issuer(), make_fake_issuer(algorithm="Ed25519"), make_fake_issuer("billing", kid="b1")
                names = [issuer.issuer for issuer in (fake_issuer, second, third, billing, make_fake_issuer("https://login.example.com/b"))]
                assert 5 == len(set(names))
                assert ["https://issuer.test/2", "https://issuer.test/3", "https://issuer.test/billing", "https://login.example.com/b"] == names[1:]
                assert fake_issuer.signing_kid == second.signing_kid == "k1"
                assert "b1" == billing.signing_kid
                assert "EdDSA" != third.jwks()["keys"][0]["alg"] == "Ed25519"
                assert all(issuer.clock is fake_clock for issuer in (second, third, billing))
        """)
        result.assert_outcomes(passed=1)

    def test_issuers_that_share_a_kid_are_told_apart(self, session: Session) -> None:
        """A token of another issuer is refused although kid and audience are those of ours (R15)."""
        result = session("""
            def test(make_fake_issuer, fake_issuer, fake_clock, token_validator):
                other = make_fake_issuer()
                theirs = TokenValidator(other.issuer, audience=other.audience, fetcher=other.fetcher(), clock=fake_clock)
                router = IssuerRouter(token_validator, theirs)
                for issuer in (fake_issuer, other):
                    assert issuer.issuer == router.validate(issuer.token()).issuer
                with pytest.raises(InvalidSignatureError):
                    router.validate(other.token(iss=fake_issuer.issuer))
        """)
        result.assert_outcomes(passed=1)

    def test_a_name_that_is_no_name_is_refused(self, session: Session) -> None:
        """Neither a word nor a URL."""
        result = session("""
            @pytest.mark.parametrize("name", ["two words", "", "-a", "a.b"])
            def test(make_fake_issuer, name):
                with pytest.raises(ValueError, match="expected a URL"):
                    make_fake_issuer(name)
        """)
        result.assert_outcomes(passed=4)

    def test_a_suite_puts_its_own_in_the_place_of_any(self, session: Session) -> None:
        """The others then use what the suite made (3)."""
        result = session("""
            @pytest.fixture
            def fake_clock():
                return FakeClock(wall=2_000_000_000.0)

            @pytest.fixture
            def fake_issuer(make_fake_issuer):
                return make_fake_issuer("mine", audience="api://mine")

            @pytest.fixture
            def key_set_client(fake_issuer, fake_clock):
                policy = RolloverPolicy(refresh_interval=3600)
                return KeySetClient(fake_issuer.issuer, fetcher=fake_issuer.fetcher(), clock=fake_clock, policy=policy)

            def test(fake_issuer, token_validator):
                token = token_validator.validate(fake_issuer.token())
                assert ("https://issuer.test/mine", 2_000_000_000) == (token.issuer, token.claims["iat"])
                assert ("api://mine",) == token.audience
                assert 3600 == token_validator.client.policy.refresh_interval
        """)
        result.assert_outcomes(passed=1)

    def test_an_issuer_of_another_shape_fits_in(self, session: Session) -> None:
        """One that looks like a well-known issuer takes the place of the plain one (3)."""
        result = session("""
            @pytest.fixture
            def fake_issuer(fake_clock):
                return FakeIssuer.like("keycloak", clock=fake_clock)

            def test(fake_issuer, token_validator):
                assert fake_issuer.issuer == token_validator.validate(fake_issuer.token()).issuer
        """)
        result.assert_outcomes(passed=1)

    def test_unittest_asks_for_them_by_an_automatic_fixture(self, session: Session) -> None:
        """A TestCase takes no arguments, but a fixture of its own does; its marker counts, too."""
        result = session("""
            @pytest.mark.keyturn(audience="api://orders")
            class TestOrders(unittest.TestCase):
                @pytest.fixture(autouse=True)
                def given(self, fake_issuer, token_validator):
                    self.issuer, self.validator = fake_issuer, token_validator

                def test_token(self):
                    self.assertEqual(("api://orders",), self.validator.validate(self.issuer.token()).audience)

                @pytest.mark.keyturn(audience="api://billing")
                def test_nearer(self):
                    self.assertEqual("api://billing", self.issuer.audience)
        """)
        result.assert_outcomes(passed=2)

    def test_a_stuck_refresh_is_left_behind(self, session: Session) -> None:
        """One that never ends is waited for as long as its policy allows, and fails nothing."""
        result = session("""
            from contextlib import ExitStack

            for_ever = ExitStack()

            @pytest.mark.keyturn(policy=RolloverPolicy(deadline=0.1))
            def test(fake_issuer, key_set_client):
                gate = for_ever.enter_context(fake_issuer.gate())
                assert not key_set_client.status().ready
                assert gate.wait_for_arrival()

            def test_other():
                for_ever.close()
        """)
        result.assert_outcomes(passed=2)

    def test_refreshes_are_over_when_the_test_is(self, session: Session) -> None:
        """What a test leaves under way in the background tells its events before the next test begins."""
        result = session("""
            left = []

            def test_leaves_a_refresh(fake_issuer, fake_clock, key_set_client, token_validator):
                token_validator.validate(fake_issuer.token())
                with fake_issuer.down(), pytest.raises(KeysUnavailableError):
                    key_set_client.refresh()
                fake_clock.advance(minutes=5)
                with fake_issuer.gate() as gate:
                    token_validator.validate(fake_issuer.token())
                    assert gate.wait_for_arrival()
                left.append(key_set_client)

            def test_finds_none(fake_issuer):
                (client,) = left
                assert client._is_idle()
                assert client.status().last_error is None
        """)
        result.assert_outcomes(passed=2)

    def test_nothing_acts_unasked(self, session: Session) -> None:
        """No fixture is set up for a test that names none, and loggers are as they were (2)."""
        result = session(
            """
            import logging

            def test(request):
                assert ["request"] == request.fixturenames
                logger = logging.getLogger("keyturn")
                assert (logging.NOTSET, [logging.NullHandler]) == (logger.level, [type(handler) for handler in logger.handlers])
            """
        )
        result.assert_outcomes(passed=1)


class TestMarker:
    """What `@pytest.mark.keyturn(...)` says, and what it may say."""

    def test_settings_go_where_they_belong(self, session: Session) -> None:
        """Issuer, client and validator each take theirs."""
        result = session("""
            @pytest.mark.keyturn(
                issuer="https://login.example.com/t", audience="api://orders", algorithm="RS256", kid="2027", rsa_bits=3072,
                policy=RolloverPolicy.strict(), algorithms=["RS256"], leeway=0, required_claims=["tenant"],
            )
            def test(fake_issuer, key_set_client, token_validator):
                assert ("https://login.example.com/t", "api://orders") == (fake_issuer.issuer, fake_issuer.audience)
                (entry,) = fake_issuer.jwks()["keys"]
                assert ("2027", "RS256", 512) == (entry["kid"], entry["alg"], len(entry["n"]))
                assert RolloverPolicy.strict() == key_set_client.policy
                token_validator.validate(fake_issuer.token(tenant="a", lifetime=1))
                with pytest.raises(MissingClaimError):
                    token_validator.validate(fake_issuer.token())
                with pytest.raises(ExpiredTokenError):
                    token_validator.validate(fake_issuer.token(tenant="a", lifetime=0))
                fake_issuer.cut_over("other", algorithm="ES256")
                with pytest.raises(DisallowedAlgorithmError):
                    token_validator.validate(fake_issuer.token(tenant="a"))
        """)
        result.assert_outcomes(passed=1)

    def test_other_settings_of_the_validator(self, session: Session) -> None:
        """Kind of token, length, cache and dialect arrive, too."""
        result = session("""
            @pytest.mark.keyturn(token_type="at+jwt", max_token_bytes=700, token_cache_size=8, dialect=Dialect(cloud=None))
            def test(fake_issuer, token_validator):
                claims = {"client_id": "web", "jti": "1"}
                assert token_validator.validate(fake_issuer.token(headers={"typ": "at+jwt"}, **claims))
                with pytest.raises(TokenTypeError):
                    token_validator.validate(fake_issuer.token(**claims))
                with pytest.raises(MalformedTokenError):
                    token_validator.validate(fake_issuer.token(headers={"typ": "at+jwt"}, **claims, filling=500 * "x"))
                assert token_validator._tokens is not None
                assert Dialect(cloud=None) == token_validator.dialect
        """)
        result.assert_outcomes(passed=1)

    def test_the_nearest_wins_setting_by_setting(self, session: Session) -> None:
        """Module, class, derived class, function and parameter: a nearer one replaces what it names, and nothing else."""
        result = session("""
            pytestmark = pytest.mark.keyturn(audience="module", kid="module", issuer="https://module.test", algorithm="ES512")

            @pytest.mark.keyturn(audience="class", kid="class", issuer="https://class.test")
            class TestBase:
                @pytest.mark.parametrize("given", [1, pytest.param(2, marks=pytest.mark.keyturn(audience="parameter"))])
                @pytest.mark.keyturn(audience="function")
                def test(self, given, fake_issuer):
                    assert {1: "function", 2: "parameter"}[given] == fake_issuer.audience
                    assert self.expected == (fake_issuer.signing_kid, fake_issuer.issuer)
                    assert "ES512" == fake_issuer.jwks()["keys"][0]["alg"]

                expected = ("class", "https://class.test")

            @pytest.mark.keyturn(kid="derived")
            class TestDerived(TestBase):
                expected = ("derived", "https://class.test")

            def test_outside(fake_issuer):
                assert ("module", "module") == (fake_issuer.audience, fake_issuer.signing_kid)
        """)
        result.assert_outcomes(passed=5)

    def test_further_issuers_take_all_but_the_name(self, session: Session) -> None:
        """The marker's audience and kid are theirs as well, unless they are given others."""
        result = session("""
            @pytest.mark.keyturn(issuer="https://mine.test", audience="api://orders", kid="2027")
            def test(make_fake_issuer):
                issuer = make_fake_issuer()
                assert ("https://issuer.test/2", "api://orders", "2027") == (issuer.issuer, issuer.audience, issuer.signing_kid)
                assert "api://billing" == make_fake_issuer(audience="api://billing").audience
        """)
        result.assert_outcomes(passed=1)

    @pytest.mark.parametrize(
        ("marker", "got"),
        [
            ("keyturn(lee_way=1, Kid='a')", 'got unknown "Kid", "lee_way", expected settings by name: issuer, audience'),
            ("keyturn('https://a.test')", "got a positional argument, expected settings by name: issuer, audience"),
            ("keyturn(clock=1)", 'got unknown "clock"'),
        ],
    )
    def test_what_is_not_understood_fails_the_test(self, session: Session, marker: str, got: str) -> None:
        """With the names that may be given, before anything of the test runs, and although it uses no fixture of ours (4)."""
        result = session(f"""
            @pytest.mark.{marker}
            def test():
                print("it ran")

            def test_other(fake_issuer):
                pass
        """)
        result.assert_outcomes(errors=1, passed=1)
        result.stdout.fnmatch_lines([f"marker keyturn {got}*"])
        result.stdout.no_fnmatch_line("*it ran*")

    def test_a_wrong_value_is_told_by_whoever_takes_it(self, session: Session) -> None:
        """The error is the one that the constructor raises, with the name of the setting."""
        result = session("""
            @pytest.mark.keyturn(leeway=-1)
            def test(token_validator):
                pass
        """)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["E*ConfigurationError: leeway*(setting: leeway)"])

    def test_it_is_explained(self, session: Session) -> None:
        """`pytest --markers` names every setting, and `pytest --fixtures` says what each fixture is."""
        session("", "--markers").stdout.fnmatch_lines([f"@pytest.mark.keyturn({', '.join(f'{name}=...' for name in _pytest_plugin.SETTINGS)}): *"])
        said = session("", "--fixtures").stdout.str()
        assert [] == [name for name in FIXTURES if not re.search(rf"^{name} -- .*\n    \w.*", said, re.MULTILINE)]

    def test_every_setting_is_one_of_its_class(self) -> None:
        """All settings of issuer and validator may be given but those that the fixtures wire themselves."""
        wired = {"self", "source", "clock", "fetcher", "store", "on_event"}

        def settings(kind: type) -> set[str]:
            return set(inspect.signature(kind.__init__).parameters) - wired  # type: ignore[misc]

        assert settings(FakeIssuer) == set(_pytest_plugin.ISSUER_SETTINGS)
        assert set(_pytest_plugin.CLIENT_SETTINGS) <= settings(KeySetClient)
        assert settings(TokenValidator) - {"audience", "issuer", "policy"} == set(_pytest_plugin.VALIDATOR_SETTINGS)


class TestDocs:
    """The pages about the plugin."""

    def test_the_reference_lists_everything(self) -> None:
        """Each fixture and each setting of the marker has its row, and nothing else has."""
        assert set(FIXTURES) == set(rows("reference/pytest-plugin.md", "Fixtures"))
        assert list(_pytest_plugin.SETTINGS) == list(rows("reference/pytest-plugin.md", "Settings of the marker"))

    def test_the_rollover_is_shown_in_under_fifteen_lines(self, session: Session) -> None:
        """The first test of the guide is complete as it stands, and passes."""
        text = snippet("plugin-rollover")
        assert len(text.splitlines()) < 15
        session(text, prelude="").assert_outcomes(passed=1)

    def test_what_the_readme_shows_passes(self, session: Session) -> None:
        """The test of README.md is complete as it stands."""
        session(snippet("readme-pytest"), prelude="").assert_outcomes(passed=1)

    @pytest.mark.parametrize("name", re.findall(r"<!-- snippet: ([\w-]+) -->", GUIDE))
    def test_what_the_guide_shows_passes(self, session: Session, pytester: pytest.Pytester, name: str) -> None:
        """Every test of the guide runs as it is shown, with the application that the guide shows as the module `orders`."""
        pytester.makepyfile(orders=next(part.code for part in parts(GUIDE) if "class Api" in part.code))
        outcomes = session(snippet(name), prelude="").parseoutcomes()
        assert {"passed"} == set(outcomes)
