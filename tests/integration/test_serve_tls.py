"""`keyturn serve --tls`: its certificate, where it is written, and for which names it is."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import httpx
import pytest
from tests.integration.serve_process import LONGEST, port_of, serving, start

from keyturn import HttpxFetcher, TokenValidator


def has_ipv6() -> bool:
    """Return whether this machine has a loopback of IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_it_speaks_https(tmp_path: Path) -> None:
    """The CA is told and written; whoever trusts it can read the documents, and its page is of an https origin."""
    path = tmp_path / "ca.pem"
    with serving("--tls", "--ca-out", str(path), "--allow-host", "fake.internal") as running:
        assert running.said["ca_pem"] == path.read_text(encoding="utf-8")
        fetcher = HttpxFetcher(ca=str(path), trust_env=False)
        validator = TokenValidator(running.said["issuer"], audience="api://test", fetcher=fetcher)
        assert running.said["issuer"].startswith("https://127.0.0.1:")
        assert "k1" == validator.validate(running.token()).key_id
        own = {"origin": running.said["issuer"]}
        assert 200 == running.web.post(running.said["control_url"] + "rotate", json={}, headers=own).status_code
        context = ssl.create_default_context(cadata=running.said["ca_pem"])
        with socket.create_connection(("127.0.0.1", port_of(running)), LONGEST) as connection:
            context.wrap_socket(connection, server_hostname="fake.internal").close()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::", "::1"])
def test_it_speaks_https_at_ipv6(host: str) -> None:
    """The address that it announces is a name of its certificate."""
    with serving("--tls", "--host", host) as running:
        context = ssl.create_default_context(cadata=running.said["ca_pem"])
        assert 200 == httpx.get(running.said["jwks_url"], verify=context, trust_env=False, timeout=LONGEST).status_code


def test_a_start_that_fails_leaves_the_certificate_of_another_alone(tmp_path: Path) -> None:
    """Whoever has the port may have written the file, and its clients trust what stands there."""
    path = tmp_path / "ca.pem"
    with serving("--tls", "--ca-out", str(path)) as running:
        second = start("--tls", "--ca-out", str(path), "--port", str(port_of(running)))
        second.communicate(timeout=LONGEST)
        assert 2 == second.returncode
        assert running.said["ca_pem"] == path.read_text(encoding="utf-8")
