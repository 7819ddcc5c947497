"""A key server for tests, with the steps of a rollover, its faults, and a clock that only the test moves."""

from __future__ import annotations

from keyturn.testing.clock import FakeClock
from keyturn.testing.issuer import FakeIssuer
from keyturn.testing.server import Fetches, Gate, IssuerServer, ReceivedRequest

__all__ = ["FakeClock", "FakeIssuer", "Fetches", "Gate", "IssuerServer", "ReceivedRequest"]
