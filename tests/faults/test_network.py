"""F1-F5 and F19: names that do not resolve, and connections that do not come about."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.faults.harness import CASES, ONE_EACH, PATIENT, QUICK, Case
from tests.faults.resolver import LOGIN, Resolver, unknown
from tests.faults.rig import STALL, Rig, drip, send
from tests.faults.rig_scene import RigScene, told_why

from keyturn import FetchError, KeysUnavailableError, RolloverPolicy
from keyturn._threads import MOST_ABANDONED

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)

SHORT_CONNECT = RolloverPolicy(connect_timeout=0.15)
"""An address that does not answer costs 0.15 s, and the five seconds of the deadline are for everything else."""


@every_case
def test_f1_resolver_hangs(rig: Rig, resolver: Resolver, case: Case) -> None:
    """Every caller has its error at the deadline although the resolver hangs on; it is asked once, and what it says at last changes nothing."""
    asked = []

    @contextmanager
    def fault() -> Iterator[None]:
        before = len(resolver.asked)
        with resolver.hanging(then=unknown):
            yield
            asked.append(len(resolver.asked) - before)

    with RigScene(rig, case, policy=QUICK, host=LOGIN) as scene:
        outcomes = scene.fails(fault, FetchError)
        assert "(setting: deadline)" in told_why(outcomes)
        assert (scene.met.connections, asked) == (0, [1])


def test_f1_late_answer_of_the_resolver(rig: Rig, resolver: Resolver) -> None:
    """An address that comes after the deadline is connected to at most; nothing is sent to it."""
    with RigScene(rig, policy=QUICK, host=LOGIN) as scene:
        with resolver.hanging(then=lambda _: [("127.0.0.1", None)]) as let_go:
            scene.refuses((FetchError, KeysUnavailableError), scene.token())
            let_go.set()
            stuck = [thread for thread in threading.enumerate() if thread.name.startswith("keyturn-fetch")]
            for thread in stuck:
                thread.join(20)
                assert not thread.is_alive()
            assert (scene.place.requests(), scene.client.snapshot().keys) == (0, ())
        scene.heals(scene.token())


def test_f1_stuck_threads_do_not_pile_up(rig: Rig, resolver: Resolver) -> None:
    """However often the pause is over, few threads are left behind in a resolver; after that an attempt fails without one."""
    with RigScene(rig, policy=QUICK, host=LOGIN) as scene:
        token = scene.token(lifetime=86_400)
        with resolver.hanging(then=unknown):
            for _ in range(MOST_ABANDONED + 2):
                scene.refuses((FetchError, KeysUnavailableError), token)
                scene.clock.advance(301)
            stuck = [thread for thread in threading.enumerate() if thread.name.startswith("keyturn-fetch")]
            assert (len(stuck), len(resolver.asked)) == (MOST_ABANDONED, MOST_ABANDONED)
        for thread in stuck:
            thread.join(20)
        scene.heals(token)


@one_each
@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL], ids=["no such name", "SERVFAIL", "no recovery"])
def test_f1_name_does_not_resolve(rig: Rig, resolver: Resolver, case: Case, code: int) -> None:
    """An answer without an address fails at once as what it is."""
    with RigScene(rig, case, host=LOGIN) as scene:
        outcomes = scene.fails(lambda: resolver.failing(code), FetchError)
        assert "could not be read: ConnectError" in told_why(outcomes)
        assert scene.met.connections == 0


@every_case
def test_f2_dead_address_and_good_one(rig: Rig, resolver: Resolver, case: Case) -> None:
    """A dead address gets its own time-out, and the next one is tried inside the deadline."""
    with rig.listen(plain=True) as dead, dead.black_hole(), RigScene(rig, case, policy=SHORT_CONNECT, host=LOGIN, plain=True) as scene:
        scene.works(lambda: resolver.leading(("127.0.0.1", dead.port), ("127.0.0.1", None)))


@one_each
def test_f2_dead_address_never_eats_the_deadline(rig: Rig, resolver: Resolver, case: Case) -> None:
    """A time-out as long as the deadline leaves time for the next address all the same."""
    policy = RolloverPolicy(deadline=3, connect_timeout=3)
    with rig.listen(plain=True) as dead, dead.black_hole(), RigScene(rig, case, policy=policy, host=LOGIN, plain=True) as scene:
        scene.works(lambda: resolver.leading(("127.0.0.1", dead.port), ("127.0.0.1", None)))


@every_case
def test_f3_connection_refused(rig: Rig, case: Case) -> None:
    """It fails at once as what it is, and there is no immediate second try."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.place.refusing, FetchError)
        assert "could not be read: ConnectError" in told_why(outcomes)
        assert scene.met.connections == 0


@every_case
def test_f4_black_hole(rig: Rig, case: Case) -> None:
    """An address that does not answer gets its own time-out, which the message names."""
    with RigScene(rig, case, policy=SHORT_CONNECT) as scene:
        outcomes = scene.fails(scene.place.black_hole, FetchError)
        assert "(setting: connect_timeout)" in told_why(outcomes)
        assert scene.met.connections == 0


def test_f4_as_slow_as_by_default(rig: Rig) -> None:
    """The same with the default numbers: 1.5 s for an address, 5 s in all."""
    with RigScene(rig, policy=PATIENT) as scene:
        assert "(setting: connect_timeout)" in told_why(scene.fails(scene.place.black_hole, FetchError))


@every_case
def test_f5_handshake_stalls(rig: Rig, case: Case) -> None:
    """A handshake that nobody answers ends with its time-out; no request was sent, and there was no second try."""
    with RigScene(rig, case, policy=SHORT_CONNECT) as scene:
        outcomes = scene.fails(lambda: scene.place.stage(opening=[STALL]), FetchError)
        assert "(setting: connect_timeout)" in told_why(outcomes)
        assert (scene.met.connections, scene.met.requests) == (1, {})


@one_each
@pytest.mark.parametrize("hello", [[send(b"\x16\x03\x03"), STALL], [drip(b"\x16\x03\x03\x40\x00" + b"\x02" * 10_000)]], ids=["part", "dripping"])
def test_f5_handshake_in_pieces(rig: Rig, case: Case, hello: list[list[str]]) -> None:
    """Pieces of a handshake do not keep it alive."""
    with RigScene(rig, case, policy=SHORT_CONNECT) as scene:
        scene.fails(lambda: scene.place.stage(opening=hello), FetchError)
        assert (scene.met.connections, scene.met.requests) == (1, {})


@every_case
def test_f19_ipv6_broken(rig: Rig, resolver: Resolver, case: Case) -> None:
    """An IPv6 address where nobody listens comes first: the IPv4 address is tried inside the deadline."""
    with rig.listen(plain=True) as dead, dead.refusing(), RigScene(rig, case, policy=SHORT_CONNECT, host=LOGIN, plain=True) as scene:
        scene.works(lambda: resolver.leading(("::1", dead.port), ("127.0.0.1", None)))


@one_each
def test_f19_ipv6_black_hole(rig: Rig, resolver: Resolver, case: Case) -> None:
    """The same where packets to the IPv6 address get lost."""
    with rig.listen(plain=True) as dead, dead.black_hole(), RigScene(rig, case, policy=SHORT_CONNECT, host=LOGIN, plain=True) as scene:
        # An IPv6 socket that leads to an IPv4 queue that is full: this machine may have no IPv6 address that loses packets.
        scene.works(lambda: resolver.leading(("::ffff:127.0.0.1", dead.port), ("127.0.0.1", None)))
