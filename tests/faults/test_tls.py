"""F6 and F7: certificates that vouch for nobody, and handshakes that are too weak."""

from __future__ import annotations

import socket
import ssl
import warnings

import pytest
from tests.faults.harness import CASES, ONE_EACH, Case
from tests.faults.rig import PATIENCE, Place, Rig
from tests.faults.rig_scene import RigScene, told_why

from keyturn import FetchError

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)

EVERY_CIPHER = "ALL:eNULL:@SECLEVEL=0"


def refuses_certificate(rig: Rig, case: Case, kind: str, reason: str) -> None:
    """Play the row for one kind of certificate: the failed check is named with its setting, and one connection was enough."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(lambda: scene.place.tls(kind), FetchError)
        assert reason in told_why(outcomes)
        assert "(setting: ca)" in told_why(outcomes)
        assert "HttpxFetcher(ca=" in next(error.hint for error in outcomes if error.code == "fetch_failed")
        assert (scene.met.connections, scene.met.requests) == (1, {})


@every_case
def test_f6_unknown_ca(rig: Rig, case: Case) -> None:
    """A certificate of a CA that is not trusted is refused, and not asked again without verification."""
    refuses_certificate(rig, case, "stranger", "unable to get local issuer certificate")


@one_each
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("expired", "certificate has expired"),
        ("early", "certificate is not yet valid"),
        ("other host", "certificate is not valid for '127.0.0.1'"),
        ("self-signed", "self-signed certificate"),
    ],
)
def test_f6_bad_certificate(rig: Rig, case: Case, kind: str, reason: str) -> None:
    """So is one that has expired, is not yet valid, is for another host, or vouches for itself."""
    refuses_certificate(rig, case, kind, reason)


def speak(place: Place, rig: Rig, version: str) -> None:
    """Speak with a server as somebody would who accepts everything; skip where this OpenSSL cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        lenient = ssl.create_default_context(cafile=rig.ca_file)
        lenient.minimum_version = ssl.TLSVersion.TLSv1
    lenient.set_ciphers(EVERY_CIPHER)
    try:
        with lenient.wrap_socket(socket.create_connection(("127.0.0.1", place.port), PATIENCE), server_hostname="127.0.0.1") as spoken:
            assert spoken.version() == version.replace("_", ".")
    except ssl.SSLError as error:
        pytest.skip(f"F7 needs a server that speaks {version} with weak ciphers, and this OpenSSL does not: {error.reason}")


def refuses_handshake(rig: Rig, case: Case, version: str, ciphers: str) -> None:
    """Play the row for one server: nothing is sent to it."""
    with RigScene(rig, case) as scene:
        with scene.place.tls(version=version, ciphers=ciphers):
            speak(scene.place, rig, version)
        scene.fails(lambda: scene.place.tls(version=version, ciphers=ciphers), FetchError)
        assert (scene.met.connections, scene.met.requests) == (1, {})


@every_case
def test_f7_tls_1_0(rig: Rig, case: Case) -> None:
    """A server that offers nothing above TLS 1.0 is refused."""
    refuses_handshake(rig, case, "TLSv1", EVERY_CIPHER)


@one_each
@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        ("TLSv1_1", EVERY_CIPHER),
        ("TLSv1_2", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
        ("TLSv1_2", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"),
        ("TLSv1_2", "AECDH-AES128-SHA:@SECLEVEL=0"),
    ],
    ids=["TLS 1.1", "SHA-1", "no encryption", "no certificate"],
)
def test_f7_weak_handshake(rig: Rig, case: Case, version: str, ciphers: str) -> None:
    """So is one that offers nothing above TLS 1.1, or weak ciphers alone."""
    refuses_handshake(rig, case, version, ciphers)


@one_each
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_f7_enough(rig: Rig, case: Case, version: str) -> None:
    """TLS 1.2 is the minimum, and enough."""
    with RigScene(rig, case) as scene:
        scene.works(lambda: scene.place.tls(version=version))
