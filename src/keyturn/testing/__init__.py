"""A key server for tests, with the steps of a rollover, its faults, and a clock that only the test moves."""

from __future__ import annotations

from keyturn.testing.account import Fetches, ReceivedRequest
from keyturn.testing.adfs import FakeAdfs
from keyturn.testing.attacks.bad_token import BadToken
from keyturn.testing.attacks.catalogue import BAD_TOKENS
from keyturn.testing.b2c import FakeB2c
from keyturn.testing.certificates import CertifiedKeys
from keyturn.testing.clock import FakeClock
from keyturn.testing.entra import FakeEntra
from keyturn.testing.external_id import FakeExternalId
from keyturn.testing.faults import Gate
from keyturn.testing.issuer import FakeIssuer
from keyturn.testing.ring import KeyRing
from keyturn.testing.server import IssuerServer
from keyturn.testing.settling import settle
from keyturn.testing.stolen import StolenKey
from keyturn.testing.unit import fake_issuer

__all__ = [
    "BAD_TOKENS",
    "BadToken",
    "CertifiedKeys",
    "FakeAdfs",
    "FakeB2c",
    "FakeClock",
    "FakeEntra",
    "FakeExternalId",
    "FakeIssuer",
    "Fetches",
    "Gate",
    "IssuerServer",
    "KeyRing",
    "ReceivedRequest",
    "StolenKey",
    "fake_issuer",
    "settle",
]
