"""The memories of the token path when others come between: a revocation and a new generation, a set past due, a text without end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.rollover.helpers import DAY, World
from tests.unit.material import AUDIENCE

from keyturn import MalformedTokenError, RevokedKeyError, RolloverPolicy, TokenValidator, UnknownKeyError
from keyturn._headers import Headers, _Generation
from keyturn.testing import FakeClock, FakeIssuer


class Overtaken(Headers):
    """Headers whose generation is read while another thread is at work: it comes in just before a given read."""

    def __init__(self) -> None:
        self.reads_left = -1
        self.comes_in: Callable[[], None] = lambda: None
        super().__init__()

    @property
    def _generation(self) -> _Generation:
        self.reads_left -= 1
        if self.reads_left == 0:
            self.comes_in()
        return self._now

    @_generation.setter
    def _generation(self, generation: _Generation) -> None:
        self._now = generation


@pytest.mark.parametrize("read", [1, 2, 3, 4, 5])
def test_a_header_that_was_overtaken_by_a_revocation_vouches_for_nothing(read: int) -> None:
    """A key that is revoked while its header is being remembered stays refused, wherever another thread's token begins the new generation (R11)."""
    issuer = FakeIssuer(clock=FakeClock())
    issuer.publish("spare")
    validator = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), clock=issuer.clock)
    validator.validate(issuer.token())
    revoked = issuer.token(headers={"x": "y"})
    issuer.promote("spare")
    good = issuer.token()
    validator._headers = headers = Overtaken()

    def comes_in() -> None:
        validator.client.revoke(kid="k1")
        validator.validate(good)

    headers.comes_in, headers.reads_left = comes_in, read
    try:
        validator.validate(revoked)
    except RevokedKeyError:
        assert read <= 2, "what was held when its signature was checked is served"
    if headers.reads_left > 0:
        comes_in()
    for _ in range(2):
        with pytest.raises(RevokedKeyError):
            validator.validate(revoked)
