"""How many Python instructions of our own one validation executes: a figure that no busy machine can move.

`python -m benchmarks.instructions` prints the figures beside the committed ones and ends with exit code 1 if one has grown by more than
5 %; with `--update` it writes them. Calls into C, such as verifying a signature or decoding base64, count as one instruction, so this
says nothing of their cost: it notices that somebody put work on the way of every token.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import keyturn
from keyturn import TokenValidator
from keyturn._core import speed
from keyturn.testing import FakeClock, FakeIssuer

FIGURES = Path(__file__).with_suffix(".json")
TOLERANCE = 0.05
WARM_UP, CALLS = 20, 10

_SOURCE = str(Path(keyturn.__file__).parent)


def version() -> str:
    """Return the Python whose figures are meant: the compiler differs from one minor version to the next."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def instructions(call: Callable[[], object]) -> int:
    """Return how many instructions *call* executes in frames of keyturn, once everything that it does has been done before."""
    # Python 3.12 counts nothing in the first session of a process, and from then on too little in the first calls of each.
    return max(*_counts(call), *_counts(call))


def _counts(call: Callable[[], object]) -> list[int]:
    count = 0

    def local(_: FrameType, event: str, __: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return local

    def enter(frame: FrameType, _: str, __: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_SOURCE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return local

    counts = []
    before = sys.gettrace()
    sys.settrace(enter)
    try:
        for _ in range(CALLS):
            count = 0
            call()
            counts.append(count)
    finally:
        sys.settrace(before)
    return counts


def measure() -> dict[str, int]:
    """Return the instructions of one validation: a usual token, without the extra; the same again out of the token cache; by asyncio."""
    return {
        "validate": _one(lambda validator, token: validator.validate(token)),
        "validate_async": _one(lambda validator, token: _finished(validator.validate_async(token))),
        "cached": _one(lambda validator, token: validator.validate(token), token_cache_size=10),
    }


def _one(use: Callable[[TokenValidator, str], object], **settings: Any) -> int:
    issuer = FakeIssuer("https://issuer.test", clock=FakeClock(), audience="api://bench")
    validator = TokenValidator(issuer.issuer, audience="api://bench", fetcher=issuer.fetcher(), clock=issuer.clock, **settings)
    token = issuer.token(scopes=["orders:read"], groups=["a", "b"], name="Alice Example")
    with _standard_library():
        validator.validate(token)
        for _ in range(WARM_UP):
            use(validator, token)
        return instructions(lambda: use(validator, token))


def _finished(coroutine: Any) -> object:
    """Run a coroutine that never waits, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("expected a validation with a held key to end without waiting")


def _standard_library() -> AbstractContextManager[object]:
    return mock.patch.multiple(speed, compiled_json=None, decode_base64=speed.standard_base64)


def committed() -> dict[str, dict[str, int]]:
    """Return the committed figures of every Python version."""
    return json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}


def grown(found: dict[str, int], expected: dict[str, int]) -> dict[str, str]:
    """Return what has grown by more than the tolerance, each in words."""
    return {
        name: f"{name}: {count} instructions, expected at most {expected[name]} and 5 %"
        for name, count in found.items()
        if count > expected[name] * (1 + TOLERANCE)
    }


def main() -> int:
    """Measure and compare, or update."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the figures of this Python version")
    update = parser.parse_args().update
    found, figures = measure(), committed()
    expected = figures.get(version(), {})
    for name, count in found.items():
        print(f"Python {version()}  {name:<16}{count:>6}  committed {expected.get(name, '-')}")
    if update:
        FIGURES.write_text(json.dumps(figures | {version(): found}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    if not expected:
        print(f"there is no committed figure for Python {version()}: write one with --update", file=sys.stderr)
        return 1
    wrong = grown(found, expected)
    print("\n".join(wrong.values()), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
