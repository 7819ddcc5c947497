"""The price of one validation, counted in Python instructions: what no busy machine can move, and what must not creep up."""

from __future__ import annotations

import pytest
from benchmarks.instructions import committed, grown, instructions, measure, version

from keyturn._core import base64url


def test_a_validation_costs_no_more_than_it_did() -> None:
    """At most 5 % above the committed figure; `python -m benchmarks.instructions --update` changes that on purpose."""
    expected = committed().get(version())
    if expected is None:
        pytest.skip(f"benchmarks/instructions.json has no figure for Python {version()}")
    assert {} == grown(measure(), expected)


def test_more_work_is_seen() -> None:
    """The count grows with what is executed, and counts our own frames alone."""
    once = instructions(lambda: base64url.decode(b"YQ"))
    assert 0 < once < 200
    assert 3 * once == instructions(lambda: [base64url.decode(b"YQ") for _ in range(3)])
    assert 0 == instructions(lambda: sorted(range(100)))


def test_growth_is_told() -> None:
    """Five per cent are allowed, one instruction more is not."""
    assert {} == grown({"validate": 105}, {"validate": 100})
    assert {"validate"} == set(grown({"validate": 106}, {"validate": 100}))
