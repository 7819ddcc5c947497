"""The one table of cases that every web adapter passes, on a server or test client of its framework.

Rules of this file:

1. A case knows nothing of frameworks: it sends requests to a `Subject`, and moves the issuer of a `World`.
2. Every refusal is read strictly: status, challenge, `Retry-After`, `Cache-Control`, body; and none repeats the token.
3. What an adapter cannot be asked is written down with its reason, and shown in the documentation; everything else must pass.
4. Nothing sleeps: the issuer is held at a gate, and time moves on a clock of its own.

A group of adapters lists its `Kind`s and runs `@pytest.mark.parametrize(("kind", "case"), table(KINDS))` with `check(kind, case)`.
Each application under test answers on `/me` (a good token; `{"subject": ..., "key": ...}`), `/orders` (the scope orders:read),
`/any` (`any_of("a", "b")`), `/role` (the role admin), `/optional` (`{"subject": null}` without credentials), `/ready`, and `/ws`
(accepts, sends what `/me` answers as one text message, and closes).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from tests.web.subjects import AT_ONCE, PATIENCE, REALM, Headers, Kind, OverHttp, Reply, Subject, World, bearer, challenge_of

# Tests of every family take all of it from here.
__all__ = [
    "AT_ONCE",
    "CASES",
    "PATIENCE",
    "REALM",
    "Asked",
    "Case",
    "Headers",
    "Kind",
    "OverHttp",
    "Reply",
    "Subject",
    "World",
    "bearer",
    "challenge_of",
    "check",
    "missing_from",
    "reasons",
    "row",
    "table",
]


@dataclass
class Asked:
    """What a case asks of one subject.

    Attributes:
        world: The issuer.
        subject: The application.
        kind: Which adapter it is.
    """

    world: World
    subject: Subject
    kind: Kind

    def get(self, path: str, token: str) -> Reply:
        """Send *token*."""
        return self.subject.get(path, bearer(token))

    def passes(self, reply: Reply, key: str = "k1", subject: str = "alice") -> None:
        """Check that the handler answered, and got what was validated."""
        assert (200, {"subject": subject, "key": key}) == (reply.status, reply.json() if reply.body else None), reply

    def refuses(self, reply: Reply, status: int, error: str | None, *, scope: str | None = None, retry_after: str | None = None) -> None:
        """Check a refusal: its status and all that goes with it."""
        assert status == reply.status, reply
        assert ([retry_after] if retry_after else []) == reply.values("Retry-After"), reply
        if not self.kind.challenge:
            return
        assert ["no-store"] == reply.values("Cache-Control"), reply
        body = reply.json()
        if self.kind.detail:
            assert set(body) == {"detail"}, reply
            assert isinstance(body["detail"], str), reply
        else:
            assert (error or "missing_token", True) == (body["error"], bool(body["error_description"])), reply
        if status == 503:
            assert [] == reply.values("WWW-Authenticate"), reply
            return
        challenge = challenge_of(reply)
        assert (REALM, error, scope) == (challenge["realm"], challenge.get("error"), challenge.get("scope")), reply
        assert (error is None) == ("error_description" not in challenge), reply

    def keeps_secret(self, reply: Reply, token: str) -> None:
        """Check that nothing of *token* comes back."""
        text = repr(reply.headers) + reply.body.decode("latin-1")
        assert [] == [part for part in (token, *token.split(".")) if len(part) > len("eyJ") and part in text]


def good_token(asked: Asked) -> None:
    """A good token passes, and the handler gets it."""
    asked.passes(asked.get("/me", asked.world.issuer.token()))
    asked.passes(asked.subject.get("/me", bearer(asked.world.issuer.token(subject="bob"), "bearer")), subject="bob")


def no_credentials(asked: Asked) -> None:
    """Without credentials the challenge has no error code (RFC 6750, section 3)."""
    asked.refuses(asked.subject.get("/me", []), 401, None)
    asked.world.issuer.fetches.expect(discovery=0, jwks=0)


def other_scheme(asked: Asked) -> None:
    """Credentials of another scheme are none."""
    asked.refuses(asked.subject.get("/me", [("Authorization", "Basic YWxpY2U6c2VjcmV0")]), 401, None)


def two_headers(asked: Asked) -> None:
    """Two tokens are not one, however the server joins them, and the first is not taken (RFC 6750, section 2)."""
    token = asked.world.issuer.token()
    asked.refuses(asked.subject.get("/me", bearer(token) + bearer(token)), 400, "invalid_request")
    asked.refuses(asked.subject.get("/me", [("Authorization", "Basic YWxpY2U6c2VjcmV0"), *bearer(token)]), 400, "invalid_request")


def no_word(asked: Asked) -> None:
    """The scheme without a token, and more than one word behind it, are no request that can be judged."""
    for value in ("Bearer", "Bearer a b"):
        asked.refuses(asked.subject.get("/me", [("Authorization", value)]), 400, "invalid_request")


def malformed(asked: Asked) -> None:
    """What is no token is refused, without a fetch and without a 503."""
    reply = asked.get("/me", "made.up.token")
    asked.refuses(reply, 401, "invalid_token")
    asked.world.issuer.fetches.expect(discovery=0, jwks=0)


def expired(asked: Asked) -> None:
    """A token that expired is refused."""
    token = asked.world.issuer.token(lifetime=-3600)
    reply = asked.get("/me", token)
    asked.refuses(reply, 401, "invalid_token")
    asked.keeps_secret(reply, token)


def wrong_audience(asked: Asked) -> None:
    """A token for somebody else is refused."""
    token = asked.world.issuer.token(audience="api://billing")
    reply = asked.get("/me", token)
    asked.refuses(reply, 401, "invalid_token")
    asked.keeps_secret(reply, token)


def forged(asked: Asked) -> None:
    """A token with the name of a published key, signed by another, is refused."""
    asked.world.warm()
    token = asked.world.issuer.forge()
    reply = asked.get("/me", token)
    asked.refuses(reply, 401, "invalid_token")
    asked.keeps_secret(reply, token)


def missing_scope(asked: Asked) -> None:
    """Without the scope a good token is forbidden, and told all that is needed; with it, it passes."""
    token = asked.world.issuer.token(scopes="orders:write")
    reply = asked.get("/orders", token)
    asked.refuses(reply, 403, "insufficient_scope", scope="orders:read")
    asked.keeps_secret(reply, token)
    asked.refuses(asked.subject.get("/orders", []), 401, None, scope="orders:read")
    asked.passes(asked.get("/orders", asked.world.issuer.token(scopes="orders:write orders:read")))


def any_scope(asked: Asked) -> None:
    """Where one of several scopes is enough each passes, and the first is asked for."""
    asked.passes(asked.get("/any", asked.world.issuer.token(scopes="b")))
    asked.refuses(asked.get("/any", asked.world.issuer.token(scopes="c")), 403, "insufficient_scope", scope="a")


def missing_role(asked: Asked) -> None:
    """A scope is no role: without the role a good token is forbidden."""
    asked.refuses(asked.get("/role", asked.world.issuer.token(scopes="admin")), 403, "insufficient_scope")
    asked.passes(asked.get("/role", asked.world.issuer.token(roles=["admin"])))


def optional(asked: Asked) -> None:
    """Where a token may be missing a bad one is refused all the same, and an outage is told."""
    assert {"subject": None} == asked.subject.get("/optional", []).json()
    assert {"subject": "alice"} == asked.get("/optional", asked.world.issuer.token()).json()
    asked.refuses(asked.get("/optional", asked.world.issuer.token(lifetime=-3600)), 401, "invalid_token")
    asked.refuses(asked.subject.get("/optional", [("Authorization", "Bearer")]), 400, "invalid_request")


def unknown_key(asked: Asked) -> None:
    """A key that nobody publishes is a 401 after one look; once the allowance is spent the answer says when to ask again (R5)."""
    asked.world.warm()
    token = asked.world.issuer.forge(key="made-up-1")
    reply = asked.get("/me", token)
    asked.refuses(reply, 401, "invalid_token")
    asked.keeps_secret(reply, token)
    again = asked.get("/me", asked.world.issuer.forge(key="made-up-2"))
    asked.refuses(again, 401, "invalid_token", retry_after="300")
    assert b"made-up" not in again.body
    asked.world.issuer.fetches.expect(jwks=1)


def issuer_down_cold(asked: Asked) -> None:
    """Without keys nobody can know: 503 with when to ask again, and no challenge."""
    with asked.world.issuer.down(document="both", retry_after=20):
        token = asked.world.issuer.token()
        reply = asked.get("/me", token)
    asked.refuses(reply, 503, "temporarily_unavailable", retry_after="20")
    asked.keeps_secret(reply, token)


def issuer_down_warm(asked: Asked) -> None:
    """Held keys serve on during an outage; a key that is not held cannot be known (R7, R9)."""
    asked.world.warm()
    with asked.world.issuer.down(document="both", retry_after=20):
        asked.passes(asked.get("/me", asked.world.issuer.token()))
        asked.refuses(asked.get("/me", asked.world.issuer.forge(key="k9")), 503, "temporarily_unavailable", retry_after="20")


def rollover(asked: Asked) -> None:
    """In mid-traffic the first token of a new key passes at the cost of one look, and old tokens go on passing (R4)."""
    asked.world.warm()
    issuer = asked.world.issuer
    old = issuer.token()
    asked.passes(asked.get("/me", old))
    issuer.publish("k2")
    issuer.promote("k2")
    new = issuer.token()
    issuer.retire("k1")
    with issuer.gate() as gate:
        first = asked.subject.start("/me", bearer(new))
        assert gate.wait_for_arrival(PATIENCE)
        asked.passes(asked.get("/me", old))
        gate.open()
        asked.passes(first.result(PATIENCE), key="k2")
    for token, key in ((old, "k1"), (new, "k2"), (old, "k1")):
        asked.passes(asked.get("/me", token), key=key)
    issuer.fetches.expect(jwks=1)


def others_go_on(asked: Asked) -> None:
    """While one request waits for the issuer others are served: no event loop and no server stands still."""
    asked.world.warm()
    with asked.world.issuer.gate() as gate:
        held = asked.subject.start("/me", bearer(asked.world.issuer.forge(key="k9")))
        assert gate.wait_for_arrival(PATIENCE)
        asked.passes(asked.get("/me", asked.world.issuer.token()))
        assert 200 == asked.subject.get("/ready", []).status
        assert not held.done()
        gate.open()
        asked.refuses(held.result(PATIENCE), 401, "invalid_token")


def many_at_once(asked: Asked) -> None:
    """Two hundred requests that meet a cold service pass, and cost one fetch."""
    issuer = asked.world.issuer
    with issuer.gate() as gate:
        running = asked.subject.concurrently([("/me", bearer(issuer.token(subject=f"user-{number}"))) for number in range(AT_ONCE)])
        assert gate.wait_for_arrival(PATIENCE)
        gate.open()
        for number, reply in enumerate(running):
            asked.passes(reply.result(PATIENCE), subject=f"user-{number}")
    issuer.fetches.expect(discovery=1, jwks=1)


def readiness(asked: Asked) -> None:
    """A look at readiness never waits, needs no token, and makes a cold service ready."""
    with asked.world.issuer.gate() as gate:
        reply = asked.subject.get("/ready", [])
        assert (503, ["no-store"], False) == (reply.status, reply.values("Cache-Control"), reply.json()["ready"])
        assert gate.wait_for_arrival(PATIENCE)
    asked.world.client.refresh()
    reply = asked.subject.get("/ready", [])
    assert (200, True, [asked.world.issuer.issuer]) == (reply.status, reply.json()["ready"], list(reply.json()["issuers"]))


def websocket(asked: Asked) -> None:
    """A WebSocket is judged before it is accepted, and refused with the same answers."""
    issuer = asked.world.issuer
    with issuer.down(document="both", retry_after=20):
        asked.refuses(_refused(asked, bearer(issuer.token())), 503, "temporarily_unavailable", retry_after="20")
    asked.world.client.refresh()
    (message,) = asked.subject.connect("/ws", bearer(issuer.token()))
    assert {"subject": "alice", "key": "k1"} == json.loads(message)
    asked.refuses(_refused(asked, []), 401, None)
    asked.refuses(_refused(asked, bearer(issuer.token(lifetime=-3600))), 401, "invalid_token")
    asked.refuses(_refused(asked, bearer(issuer.token()) + bearer(issuer.token())), 400, "invalid_request")


def _refused(asked: Asked, headers: Headers) -> Reply:
    reply = asked.subject.connect("/ws", headers)
    assert isinstance(reply, Reply), f"expected a refusal, got messages: {reply}"
    return reply


Case = Callable[[Asked], None]

CASES: tuple[Case, ...] = (
    good_token,
    no_credentials,
    other_scheme,
    two_headers,
    no_word,
    malformed,
    expired,
    wrong_audience,
    forged,
    missing_scope,
    any_scope,
    missing_role,
    optional,
    unknown_key,
    issuer_down_cold,
    issuer_down_warm,
    rollover,
    others_go_on,
    many_at_once,
    readiness,
    websocket,
)


def table(kinds: Sequence[Kind]) -> list[Any]:
    """Return every pair of adapter and case that is to be checked, for `pytest.mark.parametrize(("kind", "case"), ...)`."""
    known = {case.__name__ for case in CASES}
    assert not [name for kind in kinds for name in kind.without if name not in known], "a reason is given for a case that does not exist"
    pairs = [(kind, case) for kind in kinds for case in CASES if case.__name__ not in kind.without]
    return [pytest.param(kind, case, id=f"{kind.name}-{case.__name__}") for kind, case in pairs]


def check(kind: Kind, case: Case, **settings: Any) -> None:
    """Run one case against one adapter, with a guard of these settings."""
    world = World()
    with kind.make(world.guard(**settings)) as subject, ThreadPoolExecutor(AT_ONCE) as pool:
        subject.pool = pool
        case(Asked(world, subject, kind))


# The matrix of the documentation.


def row(kind: Kind) -> str:
    """Return the line of the matrix for *kind*: what is checked, and what cannot be."""
    return f"| {kind.name} | {' | '.join('n/a' if case.__name__ in kind.without else 'yes' for case in CASES)} |"


def reasons(kind: Kind) -> list[str]:
    """Return a line for each case that *kind* cannot be asked."""
    return [f"* {kind.name}, `{name}`: {why}" for name, why in kind.without.items()]


def missing_from(page: str, kinds: Sequence[Kind]) -> list[str]:
    """Return the lines that a page of the documentation should have and has not."""
    lines = page.splitlines()
    return [line for kind in kinds for line in (row(kind), *reasons(kind)) if line not in lines]
