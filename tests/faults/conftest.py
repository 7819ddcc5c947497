"""What the rows of the fault matrix share: one rig for all of them, and no proxy or CA of the machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.fleet import Fleet, in_files, in_memory, patient
from tests.faults.resolver import Resolver
from tests.faults.rig import Rig

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "netrc")


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The process that misbehaves on demand."""
    with Rig(tmp_path_factory.mktemp("rig")) as process:
        yield process


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the variables of the machine out of the tests."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """A name server of the test's own."""
    own = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", own)
    return own


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Processes with one store in memory."""
    patient(monkeypatch)
    with in_memory() as fleet:
        yield fleet


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fleet]:
    """Processes with one store in files."""
    patient(monkeypatch)
    with in_files(tmp_path) as fleet:
        yield fleet


@pytest.fixture(params=["memory", "files"])
def fleet(request: pytest.FixtureRequest) -> Fleet:
    """Processes with each kind of store."""
    return request.getfixturevalue(request.param)
