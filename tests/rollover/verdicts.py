"""The states of a set that the table of verdicts tells apart, and the check of one of its cells."""

from __future__ import annotations

from dataclasses import dataclass

from tests.rollover.helpers import DAY, World

from keyturn import InvalidTokenError, KeyturnError


def fresh() -> World:
    """A client that has just read its keys."""
    return World().warm()


def stale() -> World:
    """A client whose set is past due; a refresh was tried since the line and failed, and its backoff is over."""
    world = World().warm()
    world.clock.advance(DAY)
    with world.issuer.down():
        world.accept(world.issuer.token())
    world.clock.advance(1)
    return world.forget()


def overdue() -> World:
    """A client whose set is past due, and nobody has tried to refresh it."""
    world = World().warm()
    world.clock.advance(DAY + 3_600)
    return world


def cold() -> World:
    """A client that never had a set."""
    return World()


def too_old() -> World:
    """A client whose set vouches for nobody any more."""
    world = World().warm()
    world.clock.advance(2 * DAY)
    return world


@dataclass(frozen=True)
class Refused:
    """How a token is refused."""

    kind: type[KeyturnError]
    code: str
    retry_after: int | None = None


def check(world: World, token: str, expected: Refused, *, requests: int) -> None:
    """Check one cell: error and cost."""
    error = world.refusal(token)
    assert (type(error), error.code, error.retry_after) == (expected.kind, expected.code, expected.retry_after)
    assert error.http_status == (401 if isinstance(error, InvalidTokenError) else 503)
    assert world.requests == requests
