"""The Flask application of README.md answers as README.md says."""

from __future__ import annotations

import pytest
from tests.web.readme import application, check


def test_the_application_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves good tokens through a rollover, and every refusal is the one of the table."""
    app, issuer = application("readme-flask", monkeypatch)
    client = app.test_client()
    check(lambda headers: client.get("/orders", headers=headers), issuer)
