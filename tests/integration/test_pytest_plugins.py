"""The pytest plugin as it is installed, under other runners and beside the mocks of HTTP libraries; each session is a process of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest
from tests.test_import_cost import SOURCE, UNWANTED, loaded

HEAVY = {"keyturn.client", "keyturn.validator", "keyturn.testing", "cryptography", "jwt", *UNWANTED["HTTP clients"], *UNWANTED["event loops"]}

Session = Callable[..., pytest.RunResult]
"""Runs pytest on the text of one test module; what follows goes to the command line."""

PRELUDE = """
import pytest
from keyturn import *
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Return what runs a session; only the plugins that it names take part beside pytest's own, and ours comes by its entry point."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(text: str, *options: str, plugins: tuple[str, ...] = ()) -> pytest.RunResult:
        pytester.makepyfile(test_sample=PRELUDE + textwrap.dedent(text))
        named = [part for plugin in ("keyturn", *plugins) for part in ("-p", plugin)]
        return pytester.runpytest_subprocess(*named, "-W", "error", "-o", "strict=true", *options, timeout=120)

    return run


class TestInstalled:
    """What whoever installs keyturn gets, with every plugin that is there."""

    @pytest.fixture
    def alone(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
        """Return a suite that uses a fixture and the marker, and knows of no plugin."""
        monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
        pytester.makepyfile("""
            import pytest

            @pytest.mark.keyturn(kid="a")
            def test(fake_issuer):
                assert "a" == fake_issuer.signing_kid
        """)
        return pytester

    def test_it_is_there_by_itself(self, alone: pytest.Pytester) -> None:
        """Nothing has to be named: the entry point brings fixtures and marker along."""
        alone.runpytest_subprocess("--strict-markers").assert_outcomes(passed=1)

    def test_it_can_be_left_out(self, alone: pytest.Pytester) -> None:
        """`-p no:keyturn` takes the fixtures away, and the marker with them."""
        result = alone.runpytest_subprocess("-p", "no:keyturn")
        result.assert_outcomes(errors=1, warnings=1)
        result.stdout.fnmatch_lines(["*fixture 'fake_issuer' not found"])
        alone.runpytest_subprocess("-p", "no:keyturn", "--strict-markers").stdout.fnmatch_lines(["*'keyturn' not found in `markers`*"])


class TestLoading:
    """What the plugin costs those who do not use it."""

    def test_loading_it_loads_nothing_heavy(self) -> None:
        """In a fresh interpreter, the module brings along pytest and the empty package alone (1)."""
        brought = loaded("keyturn._pytest_plugin", SOURCE) - loaded("pytest", SOURCE)
        assert {"keyturn", "keyturn._pytest_plugin"} == {name for name in brought if name.partition(".")[0] == "keyturn"}
        assert set() == brought & HEAVY

    def test_a_session_that_does_not_use_it_loads_nothing_heavy(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        """The session of a fresh interpreter ends without the client, although the plugin is there by itself and its marker was read (1)."""
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        pytester.makepyfile(f"""
            import sys
            import pytest

            @pytest.mark.keyturn(kid="a")
            def test(request):
                assert request.config.pluginmanager.has_plugin("keyturn")
                assert set() == {HEAVY!r} & set(sys.modules)
        """)
        pytester.runpytest_subprocess("-p", "keyturn", "-W", "error", "-o", "strict=true").assert_outcomes(passed=1)


class TestServing:
    """Issuers behind a socket."""

    def test_several_issuers_on_one_port(self, session: Session) -> None:
        """Each further issuer has a path of its own on the server of the first, and keeps the name that it was given."""
        result = session("""
            def test(fake_issuer, make_fake_issuer, fake_clock):
                second, billing = make_fake_issuer(), make_fake_issuer("billing")
                with fake_issuer.serve() as server, second.serve(on=server), billing.serve(on=server):
                    fetcher = HttpxFetcher(rewrite={second.origin: server.url})
                    for issuer in (fake_issuer, second, billing):
                        validator = TokenValidator(issuer.issuer, audience=issuer.audience, clock=fake_clock, fetcher=fetcher)
                        assert issuer.issuer == validator.validate(issuer.token()).issuer
                        issuer.fetches.expect(discovery=1, jwks=1)
        """)
        result.assert_outcomes(passed=1)


class TestRunners:
    """Other ways to run a test."""

    def test_xdist(self, session: Session) -> None:
        """Each worker has the plugin, and a wrong marker is told by the worker that met it."""
        result = session(
            """
            @pytest.mark.parametrize("turn", range(6))
            def test(turn, worker_id, fake_issuer, fake_clock, token_validator):
                assert worker_id.startswith("gw")
                token_validator.validate(fake_issuer.token())
                fake_clock.advance(minutes=5)
                fake_issuer.cut_over("k2")
                assert "k2" == token_validator.validate(fake_issuer.token()).key_id
                fake_issuer.fetches.expect(jwks=2)

            @pytest.mark.keyturn(nothing=1)
            def test_marker():
                pass
            """,
            *("-n", "2"),
            plugins=("xdist",),
        )
        result.assert_outcomes(passed=6, errors=1)
        result.stdout.fnmatch_lines(['marker keyturn got unknown "nothing"*'])

    def test_pytest_asyncio(self, session: Session) -> None:
        """A coroutine awaits the validator on its loop, in strict mode, with asynchronous fixtures that use ours."""
        result = session(
            """
            import asyncio
            import pytest_asyncio

            @pytest_asyncio.fixture
            async def warm(fake_issuer, token_validator):
                await token_validator.validate_async(fake_issuer.token())

            @pytest.mark.keyturn(audience="api://orders")
            @pytest.mark.asyncio
            async def test(warm, fake_issuer, fake_clock, token_validator):
                fake_clock.advance(minutes=5)
                fake_issuer.cut_over("k2")
                tokens = await asyncio.gather(*(token_validator.validate_async(fake_issuer.token()) for _ in range(10)))
                assert {"k2"} == {token.key_id for token in tokens}
                fake_issuer.fetches.expect(jwks=2)
            """,
            *("-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"),
            plugins=("asyncio",),
        )
        result.assert_outcomes(passed=1)

    def test_anyio(self, session: Session) -> None:
        """The runner of anyio, on asyncio and on trio."""
        result = session(
            """
            @pytest.fixture
            async def warm(fake_issuer, token_validator):
                await token_validator.validate_async(fake_issuer.token())

            @pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
            @pytest.mark.anyio
            async def test(anyio_backend, warm, fake_issuer, fake_clock, token_validator):
                fake_clock.advance(minutes=5)
                fake_issuer.cut_over("k2")
                assert "k2" == (await token_validator.validate_async(fake_issuer.token())).key_id
                fake_issuer.fetches.expect(jwks=2)
            """,
            plugins=("anyio",),
        )
        result.assert_outcomes(passed=2)

    def test_unittest(self, session: Session) -> None:
        """An asynchronous TestCase that is given the fixtures by an automatic one of its own."""
        result = session("""
            import unittest

            class TestOrders(unittest.IsolatedAsyncioTestCase):
                @pytest.fixture(autouse=True)
                def given(self, fake_issuer, token_validator):
                    self.issuer, self.validator = fake_issuer, token_validator

                async def test_token(self):
                    self.assertEqual("alice", (await self.validator.validate_async(self.issuer.token())).subject)
        """)
        result.assert_outcomes(passed=1)


class TestMocks:
    """Those who intercept their HTTP library reach the default fetcher, which reads on a thread of keyturn's own."""

    def test_respx(self, session: Session) -> None:
        """The mock of respx, with the documents of a fake issuer."""
        result = session(
            """
            def test(respx_mock, fake_issuer):
                respx_mock.get(fake_issuer.discovery_url).respond(json=fake_issuer.discovery())
                keys = respx_mock.get(fake_issuer.jwks_url).respond(json=fake_issuer.jwks())
                validator = TokenValidator(fake_issuer.issuer, audience=fake_issuer.audience, clock=fake_issuer.clock)
                assert "alice" == validator.validate(fake_issuer.token()).subject
                assert 1 == keys.call_count
            """,
            plugins=("respx",),
        )
        result.assert_outcomes(passed=1)

    def test_pytest_httpx(self, session: Session) -> None:
        """The mock of pytest-httpx, which insists that every answer is asked for, and asked for once."""
        result = session(
            """
            def test(httpx_mock, fake_issuer):
                httpx_mock.add_response(url=fake_issuer.discovery_url, json=fake_issuer.discovery())
                httpx_mock.add_response(url=fake_issuer.jwks_url, json=fake_issuer.jwks())
                validator = TokenValidator(fake_issuer.issuer, audience=fake_issuer.audience, clock=fake_issuer.clock)
                assert "alice" == validator.validate(fake_issuer.token()).subject
                assert [fake_issuer.discovery_url, fake_issuer.jwks_url] == [str(request.url) for request in httpx_mock.get_requests()]
            """,
            plugins=("pytest_httpx",),
        )
        result.assert_outcomes(passed=1)

    def test_pytest_httpx2(self, session: Session) -> None:
        """The mock of pytest-httpx2, if the fetcher is told to use httpx2."""
        result = session(
            """
            import httpx2

            def test(httpx2_mock, fake_issuer):
                httpx2_mock.get(fake_issuer.discovery_url).respond(json=fake_issuer.discovery())
                keys = httpx2_mock.get(fake_issuer.jwks_url).respond(json=fake_issuer.jwks())
                fetcher = HttpxFetcher(client_factory=httpx2.Client)
                validator = TokenValidator(fake_issuer.issuer, audience=fake_issuer.audience, clock=fake_issuer.clock, fetcher=fetcher)
                assert "alice" == validator.validate(fake_issuer.token()).subject
                assert 1 == keys.call_count
            """,
            plugins=("pytest_httpx2",),
        )
        result.assert_outcomes(passed=1)
