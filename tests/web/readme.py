"""The snippets of README.md that need a web framework: applications as they stand there, before a fake issuer."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from tests.test_docs import snippet

import keyturn
from keyturn.testing import FakeClock, FakeIssuer


def application(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, FakeIssuer]:
    """Run the snippet *name*; return its application, and the issuer that its validator reads in the place of the real one."""
    clock = FakeClock()
    issuer = FakeIssuer("https://login.example.com", clock=clock, audience="api://orders")
    monkeypatch.setattr(keyturn, "TokenValidator", partial(keyturn.TokenValidator, clock=clock, fetcher=issuer.fetcher()))
    names: dict[str, Any] = {"__name__": "orders"}
    exec(compile(snippet(name), "README.md", "exec", dont_inherit=True), names)
    return names["app"], issuer


def check(get: Any, issuer: FakeIssuer) -> None:
    """Assert what README.md says of every answer; *get* takes the header fields of a request for /orders and returns a response."""

    def ask(token: str) -> Any:
        return get({"Authorization": f"Bearer {token}"})

    with issuer.down(document="both", retry_after=20):
        unknown = ask(issuer.token(scopes="orders:read"))
    assert (503, "20", None) == (unknown.status_code, unknown.headers["Retry-After"], unknown.headers.get("WWW-Authenticate"))
    issuer.clock.advance(20)
    assert 200 == ask(issuer.token(scopes="orders:read")).status_code
    missing = get({})
    assert (401, 'Bearer scope="orders:read"') == (missing.status_code, missing.headers["WWW-Authenticate"])
    assert 400 == ask("").status_code
    for status, token, code in (
        (401, issuer.token(lifetime=-3600), "invalid_token"),
        (401, issuer.forge(), "invalid_token"),
        (403, issuer.token(), "insufficient_scope"),
    ):
        refused = ask(token)
        assert status == refused.status_code
        assert f'error="{code}"' in refused.headers["WWW-Authenticate"]
    # The forged one has spent the allowance (R5).
    issuer.clock.advance(300)
    issuer.cut_over("k2")
    served = ask(issuer.token(subject="bob", scopes="orders:read"))
    assert 200 == served.status_code
    assert "bob" in served.text
    assert "300" == ask(issuer.forge(key="made-up", scopes="orders:read")).headers["Retry-After"]
