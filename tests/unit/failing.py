"""Every fault of a fake issuer, with what a fetcher says of it and what the account says; nothing here is a test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from keyturn.testing import FakeIssuer

BRIEF = 0.1
"""Real seconds that a fetch has in tests whose fault never lets it end."""


class Failing(NamedTuple):
    """One fault.

    Attributes:
        enter: Puts it in force, for the given document if it takes one.
        says: What the error of a fetch says, as a pattern.
        outcome: What the account says, as a pattern.
        endless: Whether it lasts as long as its context.
    """

    enter: Callable[..., AbstractContextManager[Any]]
    says: str
    outcome: str
    endless: bool = False


FAULTS: dict[str, Failing] = {
    "down": Failing(FakeIssuer.down, "answered 503, expected 200", "503, 16 bytes"),
    "redirect": Failing(lambda issuer, **more: issuer.redirect("https://other.test/", **more), "answered 302 and points to", "302, 0 bytes"),
    "not_modified": Failing(FakeIssuer.not_modified, "answered 304, expected 200", "304, 0 bytes"),
    "compressed": Failing(FakeIssuer.compressed, 'content encoding "gzip", expected none', r"200, \d+ bytes"),
    "huge": Failing(FakeIssuer.huge, "1048576 bytes, expected at most 524288", "200, 1048576 bytes"),
    "truncated": Failing(FakeIssuer.truncated, r"broke off|incomplete|without sending complete", r"200, \d+ of \d+ bytes"),
    "drop_connection": Failing(FakeIssuer.drop_connection, "dropped the connection|reset|closed|disconnected", "connection dropped"),
    "slow": Failing(lambda issuer, **more: issuer.slow(3600, **more), "whole", "not answered|under way", endless=True),
    "gate": Failing(FakeIssuer.gate, "whole", "not answered|under way", endless=True),
    "drip": Failing(lambda issuer, **more: issuer.drip(0.001, **more), "whole", "after a drip", endless=True),
}
"""Faults that a fetch fails from, by the name of their method."""

READ = ("garbage", "html", "empty", "headers", "wrong_issuer", "bad_entry")
"""Faults that a fetch does not see: what was read is judged by whoever reads the document."""
