"""The kit for unittest, and waiting for background work without a sleep."""

from __future__ import annotations

import asyncio
import inspect
import threading
import unittest
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.contract.drivers import until

from keyturn import IssuerRouter, KeySetClient, StaticKeySet, TokenValidator
from keyturn.testing import FakeClock, FakeIssuer, fake_issuer, settle


class TestFakeIssuer:
    """`fake_issuer()` in all its forms."""

    def test_a_block(self) -> None:
        """A block gets an issuer with the settings that were given, each time another."""
        context = fake_issuer(algorithm="Ed25519", kid="z")
        with context as first:
            assert ("z", "Ed25519") == (first.signing_kid, first.jwks()["keys"][0]["alg"])
        with context as second:
            assert first is not second

    def test_a_shape(self) -> None:
        """A shape of a well-known issuer can be asked for."""
        with fake_issuer(like="auth0", kid="z") as issuer:
            assert ("https://tenant.auth0.test/", "z") == (issuer.issuer, issuer.signing_kid)

    def test_bare_decorator(self) -> None:
        """`@fake_issuer` hands an issuer over by name, and hides the argument from runners that look for fixtures."""

        @fake_issuer
        def test(first: int, issuer: FakeIssuer, *, second: int) -> tuple[int, int, str]:
            return first, second, issuer.issuer

        assert (1, 2, "https://issuer.test") == test(1, second=2)
        assert ["first", "second"] == list(inspect.signature(test).parameters)
        assert "test" == test.__name__

    def test_decorator_with_settings(self) -> None:
        """Each call gets an issuer of its own, also one call within another."""
        seen: list[FakeIssuer] = []

        @fake_issuer(kid="z")
        def test(depth: int, issuer: FakeIssuer) -> None:
            seen.append(issuer)
            if depth:
                test(depth - 1)

        test(1)
        assert ([True, True], False) == ([issuer.signing_kid == "z" for issuer in seen], seen[0] is seen[1])

    def test_coroutine(self) -> None:
        """A coroutine function stays one, and its issuer lasts until it has ended."""

        @fake_issuer
        async def test(issuer: FakeIssuer) -> str:
            await asyncio.sleep(0)
            return issuer.issuer

        assert inspect.iscoroutinefunction(test)
        assert "https://issuer.test" == asyncio.run(test())

    def test_test_case(self) -> None:
        """Each test of a case has an issuer of its own from `setUp()` on, synchronous or not."""
        seen: list[tuple[str, bool]] = []

        @fake_issuer(kid="z")
        class Case(unittest.IsolatedAsyncioTestCase):
            issuer: FakeIssuer

            def setUp(self) -> None:
                self.first = self.issuer.signing_kid
                self.issuer.publish("k2")

            def test_one(self) -> None:
                seen.append((self.first, self.issuer.published_kids == ("z", "k2")))

            async def test_two(self) -> None:
                seen.append((self.first, self.issuer.published_kids == ("z", "k2")))

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
        assert ([], [], [("z", True)] * 2) == (result.errors, result.failures, seen)

    def test_derived_test_case(self) -> None:
        """Where a case and the one that it derives from are both decorated, the nearest settings win, from `setUp()` on, run for run."""
        seen: list[str] = []

        @fake_issuer(kid="far")
        class Base(unittest.TestCase):
            issuer: FakeIssuer

            def setUp(self) -> None:
                seen.append(self.issuer.signing_kid)
                self.issuer.cut_over("used")

        @fake_issuer(kid="near")
        class Derived(Base):
            def setUp(self) -> None:
                seen.append(self.issuer.signing_kid)
                super().setUp()

            def test_one(self) -> None:
                seen.append(self.issuer.signing_kid)

        case, result = Derived("test_one"), unittest.TestResult()
        case.run(result)
        case.run(result)
        assert ([], ["near", "near", "used"] * 2) == (result.errors, seen)

    def test_an_issuer_ends_where_set_up_fails(self) -> None:
        """A test whose `setUp()` raises has lost its issuer all the same when it is over."""

        @fake_issuer
        class Case(unittest.TestCase):
            def setUp(self) -> None:
                raise ValueError("no")

            def test_one(self) -> None:
                raise AssertionError

        case, result = Case("test_one"), unittest.TestResult()
        case.run(result)
        assert (1, False) == (len(result.errors), hasattr(case, "issuer"))

    def test_function_with_yield(self) -> None:
        """A fixture goes on when the call is over, so it is refused, and told what to write instead."""
        with pytest.raises(TypeError, match=r"one is a function with yield, .*with fake_issuer\(\) as issuer"):

            @fake_issuer
            def one(issuer: FakeIssuer) -> Iterator[FakeIssuer]:
                yield issuer

        with pytest.raises(TypeError, match="two is a function with yield"):

            @fake_issuer
            async def two(issuer: FakeIssuer) -> AsyncIterator[FakeIssuer]:
                yield issuer

    def test_method_of_a_test_case(self) -> None:
        """A method alone is handed its issuer, too."""
        seen: list[str] = []

        class Case(unittest.TestCase):
            @fake_issuer
            def test_one(self, issuer: FakeIssuer) -> None:
                seen.append(issuer.issuer)

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
        assert ([], ["https://issuer.test"]) == (result.errors, seen)

    def test_another_class(self) -> None:
        """A class that is no test case is refused with a hint at what there is for it."""
        with pytest.raises(TypeError, match=r"Plain is no unittest\.TestCase"):

            @fake_issuer
            class Plain:
                pass

    def test_a_wrong_setting(self) -> None:
        """A setting that nobody knows is told when the test begins."""
        with pytest.raises(TypeError, match="nonsense"), fake_issuer(nonsense=1):
            pass


class TestSettle:
    """`settle()`."""

    @pytest.fixture
    def issuer(self) -> FakeIssuer:
        """An issuer on a clock that stands still."""
        return FakeIssuer(clock=FakeClock())

    @pytest.fixture
    def validator(self, issuer: FakeIssuer) -> TokenValidator:
        """A validator with keys."""
        validator = TokenValidator(issuer.issuer, audience="api://test", fetcher=issuer.fetcher(), clock=issuer.clock)
        validator.validate(issuer.token(lifetime=10**6))
        return validator

    def test_waits_for_a_background_refresh(self, issuer: FakeIssuer, validator: TokenValidator) -> None:
        """After it the refresh that a token set off is done and counted, and its events are told (R3)."""
        issuer.clock.advance(days=1)  # type: ignore[attr-defined]
        validator.validate(issuer.token())
        settle(validator)
        issuer.fetches.expect(jwks=2)

    @pytest.mark.parametrize("of", ["validator", "client", "router"])
    def test_waits_until_a_held_refresh_is_let_go(self, issuer: FakeIssuer, validator: TokenValidator, of: str) -> None:
        """A refresh at a gate is under way, whatever is asked about; once it is let go, all is settled."""
        what: TokenValidator | KeySetClient | IssuerRouter = validator
        if of != "validator":
            what = validator.client if of == "client" else IssuerRouter(validator)
        with issuer.gate() as gate:
            refresh = threading.Thread(target=validator.client.refresh)
            refresh.start()
            assert gate.wait_for_arrival()
            with pytest.raises(TimeoutError, match=r"KeySetClient .* still had work under way after 0\.02 s"):
                settle(what, timeout=0.02)
            gate.open()
            settle(what)
            refresh.join()
        until(lambda: issuer.fetches.requests[-1].outcome.startswith("200"), "the end of the request")

    def test_another_source(self, issuer: FakeIssuer) -> None:
        """Fixed keys do nothing in the background, so being asked about them is a mistake."""
        validator = TokenValidator(StaticKeySet.from_jwks(issuer.jwks()), audience="api://test", issuer=issuer.issuer)
        with pytest.raises(TypeError, match="settle\\(\\) was given a StaticKeySet"):
            settle(validator)
