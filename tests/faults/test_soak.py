"""A day of tokens that nobody signed: what is remembered of them is bounded, and the issuers are left alone (F74).

Rules of this file:

1. Memory is watched by counting: entries of each memory, clients, threads, and blocks that the interpreter has handed out.
2. Nothing is kept by the test itself: no token, no error, no event.
"""

from __future__ import annotations

import base64
import gc
import json
import random
import sys
import threading
from collections.abc import Iterator

from tests.contract.drivers import AUDIENCE, quiet

from keyturn import InvalidIssuerError, IssuerRouter, KeySetClient, KeyturnError, TokenValidator
from keyturn.client import _alive
from keyturn.testing import FakeClock, FakeIssuer

HOURS = 24
MINUTES = 60
SLACK = 600
"""Blocks of memory that may come and go between two looks; one hour brings over 400 tokens, of some 50 blocks each while they are judged."""


class Day:
    """Two issuers behind a router, and somebody who makes tokens up."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.issuers = [FakeIssuer(f"https://{name}.test", clock=self.clock) for name in ("a", "b")]
        self.clients = [KeySetClient(issuer.issuer, fetcher=issuer.fetcher(), clock=self.clock) for issuer in self.issuers]
        self.router = IssuerRouter(*(TokenValidator(client, audience=AUDIENCE) for client in self.clients))
        self._random = random.Random(1)

    def junk(self) -> Iterator[str]:
        """Yield the tokens of one minute: new kids, issuers, tenants and tokens, never the same one twice."""
        now, word = self.clock.wall(), f"{self._random.getrandbits(64):x}"
        for issuer in self.issuers:
            yield self._token({"alg": "ES256", "kid": word}, {"iss": issuer.issuer}, now)
            yield self._token({"alg": "ES256", "x5t": word}, {"iss": issuer.issuer}, now)
        yield self._token({"alg": "ES256", "kid": "k1"}, {"iss": self.issuers[0].issuer}, now)
        yield self._token({"alg": "ES256", "kid": "k1"}, {"iss": f"https://{word}.test"}, now)
        yield self._token({"alg": "ES256", "kid": "k1"}, {"iss": f"https://a.test/{word}/v2.0", "tid": word}, now)
        yield word

    def _token(self, header: dict[str, str], claims: dict[str, str], now: float) -> str:
        good = {"sub": "alice", "aud": AUDIENCE, "iat": int(now), "exp": int(now) + 600}
        parts = [json.dumps(header).encode(), json.dumps({**good, **claims}).encode(), self._random.randbytes(64)]
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)

    def hour(self) -> set[str]:
        """Let one hour of junk pass, with a good token in each of its minutes; return the codes of the refusals."""
        codes: set[str] = set()
        for _ in range(MINUTES):
            for token in self.junk():
                try:
                    self.router.validate(token)
                except KeyturnError as error:
                    codes.add(error.code)
                else:
                    codes.add("accepted")
            for issuer in self.issuers:
                assert self.router.validate(issuer.token()).subject == "alice"
            self.clock.advance(60)
        quiet()
        return codes

    def remembered(self) -> int:
        """Return how many entries all memories of the clients hold."""
        keepers = [client._keeper for client in self.clients]
        return sum(len(keeper._look_ups) + len(keeper.memory) + len(keeper.last_used) + len(keeper._noted) for keeper in keepers)


def test_f74_a_day_of_random_kids_issuers_and_tenants() -> None:
    """The memory is flat, no client is made for anybody, held keys serve on, and each issuer is asked within its bounds."""
    day = Day()
    before, threads = set(_alive), set(threading.enumerate())
    blocks, asked = [], [0, 0]
    for hour in range(HOURS):
        codes = day.hour()
        assert codes == {"unknown_key", "invalid_signature", "invalid_issuer", "malformed_token"}
        for number, issuer in enumerate(day.issuers):
            asked[number] += issuer.fetches.jwks
            issuer.fetches.clear()
        if hour % 4 == 3:
            gc.collect()
            blocks.append(sys.getallocatedblocks())
    # 1,024 kids each, and what is held: one key.
    assert [len(client._keeper._look_ups) for client in day.clients] == [1_024, 1_024]
    assert day.remembered() <= 2 * (1_024 + 3)
    assert set(_alive) == before
    assert {thread for thread in threading.enumerate() if thread not in threads} == set()
    # One on-demand refresh in 300 s, the schedule, and the start.
    assert all(1 < count <= 2 + HOURS * 3_600 // 300 + 2 for count in asked)
    # The memory of kids is full after nine hours; from then on nothing grows, whatever comes.
    assert abs(blocks[-1] - blocks[-2]) < SLACK, blocks


def test_f74_issuers_out_of_tokens() -> None:
    """Ten thousand issuers that nobody configured: each is refused without a request, and nothing is kept of them."""
    day = Day()
    before = set(_alive)
    for number in range(10_000):
        try:
            day.router.validate(day._token({"alg": "ES256", "kid": "k1"}, {"iss": f"https://tenant-{number}.test"}, day.clock.wall()))
        except InvalidIssuerError:
            continue
        raise AssertionError("expected a refusal")
    assert set(_alive) == before
    assert day.remembered() == 0
    for issuer in day.issuers:
        issuer.fetches.expect(discovery=0, jwks=0)
