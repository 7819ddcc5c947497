"""Files of a store that are broken, unsafe, forged or of another version: rows F80, F81, F85 and F90 of the fault matrix."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.faults.fleet import SECRET, Fleet, verdict

from keyturn import ConfigurationError, FileStore, TokenValidator
from keyturn._core.revocation import Revocation
from keyturn.events import FetchSucceeded, StoreFailed
from keyturn.stores import folder as folder_module
from keyturn.stores.envelope import MAX_DOCUMENT_BYTES, VERSION, Seal, enclose, encode_document, encode_revocation
from keyturn.stores.store import Stored, source_id
from keyturn.testing import FakeIssuer

OTHER_SECRET = "another secret of this size"
PASSED_BY = 31.0
posix = pytest.mark.skipif(os.name != "posix", reason="owner, mode and links mean something on POSIX alone")
as_root = pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root can give a file away")

BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "cut": lambda good: good[: len(good) // 2],
    "cut by one byte": lambda good: good[:-1],
    "random": lambda good: hashlib.shake_256(b"noise").digest(5000),
    "one bit": lambda good: good[:300] + bytes([good[300] ^ 1]) + good[301:],
    "a page": lambda good: b"<html>",
    "twice": lambda good: good + good,
    "another version": lambda good: enclose({"fence": 10**18}, "document", "", Seal(SECRET)).replace(b'"version":1', b'"version":2'),
}


def path_of(files: Fleet, kind: str = "json") -> Path:
    """Return the place of one of the store's files."""
    return Path(files.store._folder.path) / f"{files.source}.{kind}"


def put(files: Fleet, content: bytes, kind: str = "json") -> Path:
    """Write a file of the store from outside, as its owner."""
    path = path_of(files, kind)
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def published(files: Fleet) -> bytes:
    """Have a process publish, and return what it wrote."""
    assert verdict(files.process(), files.issuer.token()) == "accepted"
    files.issuer.fetches.clear()
    return path_of(files).read_bytes()


def starts_without_it(files: Fleet) -> TokenValidator:
    """Demand that a new process asks the issuer, tells of the store once, and has its own answer kept; return it."""
    process = files.process()
    assert verdict(process, files.issuer.token()) == "accepted"
    files.issuer.fetches.expect(discovery=1, jwks=1)
    assert ["load"] == [event.operation for event in files.told(StoreFailed)]
    with files.issuer.down(document="both"):
        assert verdict(files.process(), files.issuer.token()) == "accepted"
    assert files.told(FetchSucceeded)[-1].reason == "store"
    return process


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_f80_broken_file_is_ignored_whole(files: Fleet, damage: Callable[[bytes], bytes]) -> None:
    """It is as if there were none: the issuer is asked, the loss is told, and what is fetched is kept in its place."""
    put(files, damage(published(files)))
    starts_without_it(files)


@pytest.mark.parametrize("other", [("https://other.test", None), (None, "https://issuer.test/elsewhere")], ids=["issuer", "location"])
def test_f80_file_of_another_client_is_ignored(files: Fleet, other: tuple[str | None, str | None]) -> None:
    """Issuer and location stand inside the seal: a file that was copied from another client opens nothing here."""
    issuer, location = other
    theirs = files.snapshot(files.clock.wall())
    theirs = replace(theirs, issuer=issuer or theirs.issuer, location=location or theirs.location)
    source = source_id(theirs.issuer, theirs.location)
    files.store.publish(source, theirs, 1)
    shutil.copy(path_of(files).with_name(f"{source}.json"), path_of(files))
    starts_without_it(files)


def test_f80_file_of_a_gigabyte_is_not_read(files: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is looked at before anything is read."""
    asked: list[int] = []
    real = folder_module._read

    def counted(descriptor: int, size: int) -> bytes:
        asked.append(size)
        return real(descriptor, size)

    monkeypatch.setattr(folder_module, "_read", counted)
    published(files)
    os.truncate(path_of(files), 1 << 30)
    asked.clear()
    starts_without_it(files)
    assert max(asked) <= MAX_DOCUMENT_BYTES


def loosen(path: Path) -> None:
    """Let the group write."""
    path.chmod(path.stat().st_mode | 0o020)


def open_to_all(path: Path) -> None:
    """Let everybody write."""
    path.chmod(path.stat().st_mode | 0o002)


def link(path: Path) -> None:
    """Put a symbolic link in the place of *path*."""
    path.rename(path.with_name(f"{path.name}.away"))
    path.symlink_to(path.with_name(f"{path.name}.away"))


def give_away(path: Path) -> None:
    """Give *path* to another user."""
    os.chown(path, 12345, -1)


UNSAFE = [loosen, open_to_all, link, pytest.param(give_away, marks=as_root)]


@posix
@pytest.mark.parametrize("what", ["folder", "file"])
@pytest.mark.parametrize("spoil", UNSAFE)
def test_f81_unsafe_place_is_refused(files: Fleet, spoil: Callable[[Path], None], what: str) -> None:
    """Who can write there decides who gets in: an error at construction, and later as if there were no store."""
    published(files)
    path = path_of(files).parent if what == "folder" else path_of(files)
    spoil(path)
    with pytest.raises(ConfigurationError, match=r"folder cannot be used: .*\(setting: folder\)"):
        FileStore(path_of(files).parent, secret=SECRET)
    process = files.process()
    assert verdict(process, files.issuer.token()) == "accepted"
    files.issuer.fetches.expect(discovery=1, jwks=1)
    (told,) = files.told(StoreFailed)
    assert "PermissionError" in told.message


@posix
def test_f81_place_that_was_made_safe_again_is_used(files: Fleet) -> None:
    """The store is looked at again half a minute later; no restart is needed."""
    published(files)
    path_of(files).chmod(0o666)
    process = files.process()
    assert verdict(process, files.issuer.token()) == "accepted"
    path_of(files).chmod(0o600)
    files.clock.advance(PASSED_BY)
    assert verdict(process, files.roll()) == "accepted"
    assert b"hmac" in path_of(files).read_bytes()
    with files.issuer.down(document="both"):
        assert verdict(files.process(), files.issuer.token()) == "accepted"


@posix
def test_f81_files_are_made_for_their_owner_alone(files: Fleet) -> None:
    """Whatever the umask is: folder 0700, files 0600."""
    before = os.umask(0)
    try:
        process = files.process()
        assert verdict(process, files.issuer.token()) == "accepted"
        process.client.revoke(kid="k1")
    finally:
        os.umask(before)
    folder = path_of(files).parent
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.iterdir())) == 4


def forgery(files: Fleet, attacker: FakeIssuer, sealer: Seal) -> bytes:
    """Return the document of somebody who would be the issuer."""
    body = json.dumps(attacker.jwks()).encode()
    return encode_document(Stored(files.snapshot(files.clock.wall(), body=body), 10**15), files.source, sealer)


@pytest.mark.parametrize("how", ["other secret", "body exchanged", "checksum", "source inside"])
def test_f85_document_of_a_stranger_lets_nobody_in(files: Fleet, how: str) -> None:
    """What the secret does not open is as if it were not there, whoever wrote it and whatever it says."""
    attacker = FakeIssuer(clock=files.clock)
    good = published(files)
    bad = forgery(files, attacker, Seal(OTHER_SECRET))
    if how == "body exchanged":
        bad = good[: good.index(b'"version"')] + bad[bad.index(b'"version"') :]
    elif how == "checksum":
        sealed = bad[bad.index(b'"version"') :]
        bad = b'{"seal":"sha256:' + hashlib.sha256(sealed).hexdigest().encode() + b'",' + sealed
    elif how == "source inside":
        bad = good.replace(files.source.encode(), b"0" * 32)
    put(files, bad)
    process = starts_without_it(files)
    assert verdict(process, attacker.token()) == "invalid_signature"


def test_f85_entry_of_a_stranger_takes_nothing_back(files: Fleet) -> None:
    """A reinstatement that the secret does not open, or that was made for another client, counts for nothing (R11)."""
    process, token = files.process(), files.issuer.token()
    assert verdict(process, token) == "accepted"
    process.client.revoke(kid="k1")
    (entry,) = files.store.revocations(files.source)
    back = replace(entry, sequence=entry.sequence + 10**9, state="reinstated")
    forged = [
        encode_revocation(back, files.source, Seal(OTHER_SECRET)).decode(),
        encode_revocation(back, "0" * 32, Seal(SECRET)).decode(),
    ]
    listed = json.loads(path_of(files, "revocations.json").read_bytes())
    put(files, json.dumps(forged + listed).encode(), "revocations.json")
    files.clock.advance(300)
    for worker in (process, files.process()):
        verdict(worker, token)
        assert verdict(worker, token) == "revoked_key"


def test_f85_list_of_a_stranger_loses_nothing_that_is_known(files: Fleet) -> None:
    """A list that was exchanged is told, and what processes remember is written back into a new one."""
    process, token = files.process(), files.issuer.token()
    assert verdict(process, token) == "accepted"
    process.client.revoke(kid="k1")
    put(files, b"junk", "revocations.json")
    files.clock.advance(300)
    assert verdict(process, token) == "revoked_key"
    assert {event.operation for event in files.told(StoreFailed)} == {"revocations"}
    assert any("lost 1 entries" in event.message for event in files.told(StoreFailed))
    assert verdict(files.process(), token) == "revoked_key"


def test_f85_unsealed_use_is_asked_for_by_name(files: Fleet) -> None:
    """No secret is no store, and a sealed store reads nothing that is not sealed."""
    with pytest.raises(ConfigurationError, match="got neither"):
        FileStore(path_of(files).parent)
    unsealed = FileStore(path_of(files).parent, unsealed=True, clock=files.clock)
    assert unsealed.publish(files.source, files.snapshot(files.clock.wall()), 1)
    starts_without_it(files)


def of_version(version: int, fields: dict[str, Any], record: str, source: str) -> bytes:
    """Return an envelope as another version of the library would have sealed it."""
    return enclose({"version": version, **fields}, record, source, Seal(SECRET))


@pytest.mark.parametrize("version", [0, VERSION + 1])
def test_f90_document_of_another_version_is_ignored(files: Fleet, version: int) -> None:
    """Half of it would be misunderstood, so none of it is used; the next answer takes its place."""
    whole = json.loads(published(files))
    fields = {name: value for name, value in whole.items() if name not in {"seal", "version", "record", "source"}}
    put(files, of_version(version, fields, "document", files.source))
    starts_without_it(files)


def test_f90_document_with_an_unknown_field_is_ignored(files: Fleet) -> None:
    """A field that this version does not know may change what the others mean."""
    whole = json.loads(published(files))
    fields = {name: value for name, value in whole.items() if name not in {"seal", "version", "record", "source"}}
    put(files, enclose({**fields, "only_until": 1}, "document", files.source, Seal(SECRET)))
    starts_without_it(files)


def test_f90_entries_of_another_version_are_kept(files: Fleet) -> None:
    """Old entries count beside those of a newer version, which are left alone for whoever understands them."""
    process, token = files.process(), files.issuer.token()
    assert verdict(process, token) == "accepted"
    process.client.revoke(kid="k1")
    newer = of_version(VERSION + 1, {"subject": "x", "until": 5}, "revocation", files.source).decode()
    listed = json.loads(path_of(files, "revocations.json").read_bytes())
    put(files, json.dumps([newer, *listed]).encode(), "revocations.json")
    restarted = files.process()
    assert verdict(restarted, token) == "revoked_key"
    restarted.client.revoke(kid="another")
    assert newer in json.loads(path_of(files, "revocations.json").read_bytes())
    assert {entry.subject for entry in files.store.revocations(files.source)} >= {"another"}


def test_f90_only_entries_of_another_version_are_kept_too(files: Fleet) -> None:
    """A list of which this version understands nothing is told, and gains what is revoked here."""
    newer = of_version(VERSION + 1, {"subject": "x", "until": 5}, "revocation", files.source).decode()
    put(files, json.dumps([newer]).encode(), "revocations.json")
    process, token = files.process(), files.issuer.token()
    assert verdict(process, token) == "accepted"
    assert ["revocations"] == [event.operation for event in files.told(StoreFailed)]
    process.client.revoke(kid="k1")
    assert newer in json.loads(path_of(files, "revocations.json").read_bytes())
    assert verdict(files.process(), token) == "revoked_key"


def test_f90_lease_of_another_version_keeps_nobody_out(files: Fleet) -> None:
    """A lease that cannot be read is none: at worst both versions ask the issuer once."""
    put(files, of_version(VERSION + 1, {"owner": "x", "fence": 10**15, "ends_at": 10**12}, "lease", files.source), "lease.json")
    assert verdict(files.process(), files.issuer.token()) == "accepted"
    assert path_of(files).exists()
    assert Revocation("kid", "k1", 1, "revoked") not in files.store.revocations(files.source)
