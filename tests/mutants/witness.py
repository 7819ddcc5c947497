"""A plugin for pytest inside a copy: it makes sure that the copy is what is tested, and notes which tests failed.

Hypothesis works as always, but shows a failure as it was found: making it smaller takes a minute, and nobody reads it.

The package is installed editable, so a test that started in the wrong place would pass on the original and prove nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

PROFILE = "mutants"
settings.register_profile(
    PROFILE,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)

COPY, FAILED = "KEYTURN_MUTANT_COPY", "KEYTURN_MUTANT_FAILED"
"""Variables with the folder of the copied package, and with the file that takes the node ids of the tests that failed."""

WRONG_COPY = 86
"""Exit code when something else than the copy was imported."""


def pytest_sessionstart() -> None:
    """End the run where `keyturn` is not the copy."""
    import keyturn

    found, expected = Path(str(keyturn.__file__)).resolve().parent, Path(os.environ[COPY]).resolve()
    if found != expected:
        pytest.exit(f"expected keyturn from {expected}, got {found}", returncode=WRONG_COPY)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a test that failed, at once: the run may be ended from outside before its own end."""
    if report.failed:
        with Path(os.environ[FAILED]).open("a", encoding="utf-8") as file:
            print(report.nodeid, file=file)
