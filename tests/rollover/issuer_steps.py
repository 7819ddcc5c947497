"""The steps that an issuer takes in a random series: rollovers, broken entries, outages.

Every step is possible at any time; one that has nothing to work on does nothing. An issuer always publishes a key that serves.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from tests.rollover.watched import Watched

KIDS = ["k1", "k2", "k3", "k4"]
BAD_ANSWERS = [b"", b"<html>", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AA"}]}']
BREAKAGES: list[dict[str, Any]] = [{"use": "enc"}, {"kty": "oct"}, {"alg": "HS256"}, {"key_ops": ["sign"]}, {"x": None}, {"y": "AA"}]
RAW_ENTRIES = [None, 1, {}, {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "k1"}, {"kty": "new", "kid": "k2"}]


class IssuerSteps:
    """One issuer, which `world` watches."""

    world: Watched

    def roll_over(self, data: st.DataObject) -> None:
        """Take one step of a rollover."""
        steps = (self.publish, self.promote, self.take_out, self.restore, self.cut_over, self.replace_material, self.sign_early, self.shuffle)
        data.draw(st.sampled_from(steps))(data)

    def free(self) -> list[str]:
        """Return the kids that a new key may have."""
        issuer = self.world.issuer
        return [kid for kid in KIDS if kid not in issuer._keys or (issuer._keys[kid].state == "retired" and kid != issuer.signing_kid)]

    def publish(self, data: st.DataObject) -> None:
        """Publish a new key, or one that signs already."""
        kids = self.free() + self.world.in_state("unpublished")
        if kids:
            self.world.issuer.publish(data.draw(st.sampled_from(kids)))

    def promote(self, data: st.DataObject) -> None:
        """Sign with a published key, and no more with the one before."""
        self.world.issuer.promote(data.draw(st.sampled_from(self.world.in_state("published"))))

    def take_out(self, data: st.DataObject) -> None:
        """Take a key out, for good or for a while; one that serves is always left."""
        kids, issuer = self.dispensable(), self.world.issuer
        if kids:
            data.draw(st.sampled_from([issuer.retire, issuer.withhold]))(data.draw(st.sampled_from(kids)))

    def dispensable(self) -> list[str]:
        """Return the published kids without which a key that serves is left."""
        return [kid for kid in self.world.in_state("published") if set(self.world.whole()) - {kid}]

    def restore(self, data: st.DataObject) -> None:
        """Publish a withheld key again."""
        kids = self.world.in_state("withheld")
        if kids:
            self.world.issuer.restore(data.draw(st.sampled_from(kids)))

    def cut_over(self, data: st.DataObject) -> None:
        """Replace the whole set in one step."""
        if self.free():
            self.world.issuer.cut_over(data.draw(st.sampled_from(self.free())))

    def replace_material(self, data: st.DataObject) -> None:
        """Put a new key under a kid."""
        self.world.issuer.replace_material(data.draw(st.sampled_from(self.world.in_state("published"))))

    def sign_early(self, data: st.DataObject) -> None:
        """Sign with a key before it is published."""
        if self.free():
            self.world.issuer.sign_unpublished(data.draw(st.sampled_from(self.free())))

    def shuffle(self, data: st.DataObject) -> None:
        """Change the order of the set."""
        self.world.issuer.shuffle(data.draw(st.integers(0, 99)))

    def spoil(self, data: st.DataObject) -> None:
        """Break one entry or mend it, or add one that never served."""
        what, kids = data.draw(st.sampled_from(["break", "mend", "add"])), self.dispensable()
        if what == "add":
            self.world.issuer.add_entry(data.draw(st.sampled_from(RAW_ENTRIES)))
        elif what == "break" and kids:
            self.world.issuer._keys[data.draw(st.sampled_from(kids))].members = data.draw(st.sampled_from(BREAKAGES))
        elif what == "mend":
            self.world.issuer._keys[data.draw(st.sampled_from(self.world.in_state("published")))].members = {}

    def fall_ill(self, data: st.DataObject) -> None:
        """Fail from now on, one way or another."""
        issuer, kind = self.world.issuer, data.draw(st.sampled_from(["down", "drop", "bad", "truncated"]))
        if kind == "down":
            retry_after = data.draw(st.sampled_from([None, None, None, 0, 120, 10**9]))
            self.world.fall_ill(issuer.down(data.draw(st.sampled_from([429, 500, 503])), retry_after=retry_after), retry_after)
        elif kind == "drop":
            self.world.fall_ill(issuer.drop_connection())
        else:
            whole = json.dumps(issuer.jwks()).encode()
            body = whole[: data.draw(st.integers(1, len(whole) - 1))] if kind == "truncated" else data.draw(st.sampled_from(BAD_ANSWERS))
            self.world.fall_ill(issuer.answer(body))

    def recover(self, data: st.DataObject) -> None:
        """Answer again."""
        self.world.recover()
