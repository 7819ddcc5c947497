"""gunicorn with workers that fork from a loaded application, which joins repeated header fields by itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.web.conformance import PATIENCE, OverHttp, bearer

from keyturn.testing import FakeIssuer

ROOT = Path(__file__).parents[3]
WORKERS = 2
REQUESTS = 12
"""Any of them may go to any worker."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn forks")


@contextmanager
def gunicorn(issuer: str) -> Iterator[OverHttp]:
    """Serve the Flask example, loaded before it forks, until the context ends."""
    application = f"examples.flask.app:create_app('{issuer}')"
    command = [sys.executable, "-m", "gunicorn", "--preload", f"--workers={WORKERS}", "--threads=4", "--bind=127.0.0.1:0", application]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stderr is not None
        try:
            seen: list[str] = []
            for line in process.stderr:
                seen.append(line)
                if len(re.findall("Booting worker", "".join(seen))) == WORKERS:
                    break
            (port,) = re.findall(r"Listening at: http://127\.0\.0\.1:(\d+)", "".join(seen))
            yield OverHttp(int(port))
        finally:
            process.terminate()
            _, complaints = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in complaints, complaints


def test_workers_live_through_a_rollover() -> None:
    """Each worker reads the keys for itself, and once more for a key that it has not seen (R4)."""
    issuer = FakeIssuer(audience="api://orders")
    with issuer.serve() as served, gunicorn(served.url) as api:

        def statuses(token: str) -> set[int]:
            return {api.get("/orders", bearer(token)).status for _ in range(REQUESTS)}

        old = issuer.token(scopes="orders:read")
        assert {200} == statuses(old)
        assert {401} == statuses("junk")
        # Both keys stay published, because a worker that got no request yet reads them only now.
        issuer.publish("k2")
        issuer.promote("k2")
        assert {200} == statuses(issuer.token(scopes="orders:read"))
        assert {200} == statuses(old)
        assert issuer.fetches.jwks <= 2 * WORKERS


def test_repeated_header_fields_arrive_as_one() -> None:
    """Gunicorn joins them with a comma, and they are still two tokens (RFC 6750, section 2)."""
    issuer = FakeIssuer(audience="api://orders")
    with issuer.serve() as served, gunicorn(served.url) as api:
        token = issuer.token(scopes="orders:read")
        assert 400 == api.get("/orders", bearer(token) + bearer(token)).status
        assert 400 == api.get("/orders", [("Authorization", "Basic YWxpY2U6c2VjcmV0"), *bearer(token)]).status
