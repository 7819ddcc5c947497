"""24 virtual hours of random kids, tokens, issuers and tenants: what is remembered stays bounded (R13, I5), what is asked stays within I3.

Memory is counted in entries and not in bytes, so that the test says what grew.
"""

from __future__ import annotations

import gc
import itertools
import random
from collections import Counter
from collections.abc import Iterator

from tests.rollover.helpers import DAY, HOUR, World

from keyturn import FetchFailed, FetchSucceeded, IssuerRouter, KeyturnError, RolloverPolicy
from keyturn._core.acceptance import MOST_REMEMBERED
from keyturn._core.state import ON_DEMAND
from keyturn._headers import MOST_HEADERS
from keyturn.testing import FakeClock, FakeIssuer

SEED = 20_261_122
STEP = 120.0
TENANTS = 3
TOKENS_EACH_STEP = 4
POLICY = RolloverPolicy(max_unknown_kids=8)
CONTAINERS = (dict, list, tuple, set, frozenset)


class Tenants:
    """Several issuers behind one router, on one clock, and somebody who sends whatever comes to mind."""

    def __init__(self) -> None:
        self.chance = random.Random(SEED)
        self.clock = FakeClock()
        self.worlds = [World(POLICY, draw=0.5, name=f"https://tenant-{number}.test", clock=self.clock) for number in range(TENANTS)]
        self.router = IssuerRouter(*(world.validator for world in self.worlds))
        self.stranger = FakeIssuer("https://stranger.test", clock=self.clock)
        self.verdicts: Counter[str] = Counter()
        self.published = TENANTS

    def pass_hours(self, hours: int) -> None:
        """Let hours pass, a step at a time; no memory ever holds more than it may."""
        for _ in range(int(hours * HOUR / STEP)):
            assert [(name, size) for world in self.worlds for name, size, most in remembered(world) if size > most] == []
            self.clock.advance(STEP)
            world = self.chance.choice(self.worlds)
            if self.chance.random() < 0.05:
                self.roll_over(world)
            for _ in range(TOKENS_EACH_STEP):
                if self.chance.random() < 0.02:
                    with world.issuer.down(retry_after=self.chance.choice([None, 30])):
                        self.send(world)
                else:
                    self.send(world)

    def roll_over(self, world: World) -> None:
        """Change what is published, under a kid that nobody used before."""
        kid = f"kid-{self.chance.getrandbits(64):x}"
        self.published += 1
        if self.chance.random() < 0.5:
            world.issuer.cut_over(kid)
            return
        earlier = world.issuer.signing_kid
        world.issuer.publish(kid)
        world.issuer.promote(kid)
        if self.chance.random() < 0.8:
            world.issuer.retire(earlier)

    def send(self, world: World) -> None:
        """Send a token of any kind."""
        token = self.chance.choice([self.good, self.unknown, self.unknown, self.forged, self.foreign, self.malformed])(world)
        try:
            self.router.validate(token)
        except KeyturnError as error:
            self.verdicts[error.code] += 1
        else:
            self.verdicts["accepted"] += 1
        world.idle()

    def good(self, world: World) -> str:
        """Return a token of a key that is published, now and then with a header that no other one has."""
        headers = {"more": f"{self.chance.getrandbits(64):x}"} if self.chance.random() < 0.7 else {}
        return world.issuer.token(key=self.chance.choice(world.issuer.published_kids), headers=headers)

    def unknown(self, world: World) -> str:
        """Return a token with a kid that nobody ever heard of."""
        return world.unknown(f"junk-{self.chance.getrandbits(64):x}")

    def forged(self, world: World) -> str:
        """Return a token that claims a published key, or none."""
        return world.issuer.forge(headers=self.chance.choice([{}, {"kid": None}]))

    def foreign(self, world: World) -> str:
        """Return a token of an issuer that was not configured."""
        return self.stranger.token(iss=f"https://{self.chance.getrandbits(64):x}.test")

    def malformed(self, world: World) -> str:
        """Return what is no token."""
        return f"{self.chance.getrandbits(256):x}.{self.chance.getrandbits(256):x}"


def entries(root: object) -> int:
    """Return how many entries all containers have together that *root* leads to, through objects of the library."""
    seen: set[int] = set()
    count, waiting = 0, [root]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        count += len(found) if isinstance(found, CONTAINERS) else 0
        waiting += [each for each in gc.get_referents(found) if is_ours(each)]
    return count


def is_ours(found: object) -> bool:
    """Return whether to look inside: at the library's objects and at containers, but neither at classes nor at what tests brought."""
    kind = type(found)
    if isinstance(found, type) or kind.__module__.startswith("keyturn.testing"):
        return False
    return isinstance(found, CONTAINERS) or kind.__module__.startswith(("keyturn", "cachetools", "collections")) or kind.__name__ == "mappingproxy"


def remembered(world: World) -> Iterator[tuple[str, int, int]]:
    """Return the name of each memory, how much it holds, and how much it may."""
    keeper, state = world.client._keeper, world.client._keeper.state
    held = len(state.held.keys) + len(state.banned.keys)
    yield "kids looked up", len(keeper._look_ups), POLICY.max_unknown_kids
    yield "fitting keys", len(keeper.memory), held
    yield "last used", len(keeper.last_used), held
    yield "noted", len(keeper._noted), held
    yield "first seen", len(state.first_seen), MOST_REMEMBERED
    yield "headers", len(world.validator._headers._generation.known), MOST_HEADERS
    yield "revocations", len(state.revocations), 0


def test_what_grows_is_counted() -> None:
    """An entry for each token, wherever the library keeps it, is seen by the count."""
    tenants = Tenants()
    before = entries(tenants.router)
    for keeper in (world.client._keeper for world in tenants.worlds):
        keeper.last_used.update({str(number): number for number in range(100)})
        keeper.memory.update({(number, ""): () for number in range(100)})
    assert entries(tenants.router) - before >= 2 * 100 * TENANTS


def test_a_day() -> None:
    """Memory follows the keys that are published, never the tokens; each issuer is asked within I3, and each kind of verdict was met."""
    tenants = Tenants()
    tenants.pass_hours(12)
    at_noon, published_by_noon = entries(tenants.router), tenants.published
    tenants.pass_hours(12)
    # Each key may be remembered by its name, its header and its first sight; an entry for each token would be far more.
    assert entries(tenants.router) - at_noon < 20 * (tenants.published - published_by_noon)
    for world in tenants.worlds:
        check_requests(world)
    assert sum(tenants.verdicts.values()) == TOKENS_EACH_STEP * DAY / STEP
    expected = {"accepted", "unknown_key", "invalid_signature", "invalid_issuer", "malformed_token", "fetch_failed", "keys_unavailable"}
    assert expected <= tenants.verdicts.keys()


def check_requests(world: World) -> None:
    """Check one issuer's account: on-demand refreshes 300 s apart, one start, two schedules, retries after their pause, two documents each."""
    refreshes = sorted([*world.told(FetchSucceeded), *world.told(FetchFailed)], key=lambda event: event.at)
    on_demand = [event.at for event in refreshes if event.reason in ON_DEMAND]
    assert all(later - earlier >= POLICY.on_demand_interval for earlier, later in itertools.pairwise(on_demand))
    assert 1 < len(on_demand) <= 1 + DAY / POLICY.on_demand_interval
    reasons = Counter(event.reason for event in refreshes if isinstance(event, FetchSucceeded))
    assert (reasons["start"], reasons["operator"]) == (1, 0)
    assert reasons["schedule"] <= 1 + DAY / (0.9 * POLICY.refresh_interval)
    for failed, following in itertools.pairwise(refreshes):
        assert not isinstance(failed, FetchFailed) or following.at - failed.at >= failed.retry_in >= 1
    assert world.issuer.fetches.jwks == len(refreshes)
    assert world.issuer.fetches.discovery <= world.issuer.fetches.jwks
