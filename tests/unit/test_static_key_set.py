"""Fixed keys: a source that fetches nothing and never rolls over."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.material import entry, header_of, key_set

from keyturn import ConfigurationError, DisallowedAlgorithmError, InvalidKeySetError, KeySource, MalformedTokenError, StaticKeySet, UnknownKeyError


def test_it_is_a_source() -> None:
    """It can stand wherever keys are asked for; only the validator knows the issuer."""
    source = StaticKeySet.from_jwks(key_set(entry(kid="a")))
    assert isinstance(source, KeySource)
    assert "" == source.issuer


@pytest.mark.parametrize("form", [lambda text: text, lambda text: text.decode(), json.loads])
def test_bytes_text_and_mapping(form) -> None:
    """A document is taken in any of three forms."""
    assert 1 == len(StaticKeySet.from_jwks(form(key_set(entry(kid="a")))).snapshot().keys)


def test_keys_that_fit() -> None:
    """The same keys for a thread and for a coroutine."""
    source = StaticKeySet.from_jwks(key_set(entry(kid="a"), entry("ES384", kid="b")))
    (key,) = source.keys_for(header_of("a"))
    assert "a" == key.kid
    assert (key,) == asyncio.run(source.keys_for_async(header_of("a")))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (header_of("b"), 'no key fits kid "b"$'),
        (header_of("a", "RS256"), 'no key fits kid "a": that key is for ES256, and the token says "RS256"$'),
        (header_of(None, "RS256"), 'no key fits the algorithm "RS256"$'),
        (header_of("enc"), 'no key fits kid "enc": that key has use "enc"'),
        (header_of(""), 'no key fits kid ""$'),
        (header_of("\x1b[2J"), r'no key fits kid "\\x1b\[2J"$'),
    ],
)
def test_no_key_that_fits(header: dict[str, Any], says: str) -> None:
    """The message names what was looked for, and why a published key does not do."""
    source = StaticKeySet.from_jwks(key_set(entry(kid="a"), entry(kid="enc", use="enc")))
    with pytest.raises(UnknownKeyError, match=says) as caught:
        source.keys_for(header)
    assert "KeySetClient" in caught.value.hint
    assert None is caught.value.retry_after


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ({}, MalformedTokenError),
        ({"alg": "ES256", "kid": ["a"]}, MalformedTokenError),
        ({"alg": []}, MalformedTokenError),
        ({"alg": "none"}, DisallowedAlgorithmError),
    ],
)
def test_a_header_that_no_token_may_have(header: dict[str, Any], error: type[Exception]) -> None:
    """Whoever asks with a raw header meets our errors alone."""
    with pytest.raises(error):
        StaticKeySet.from_jwks(key_set(entry())).keys_for(header)


def test_from_a_file(tmp_path: Path) -> None:
    """Path or text, and the status says which file."""
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(entry(kid="a"), None))
    for given in (path, str(path)):
        status = StaticKeySet.from_file(given).status()
        assert (str(path), True, False, None) == (status.location, status.ready, status.stale, status.next_refresh)
        assert ["a"] == [key.kid for key in status.keys]
        assert 1 == len(status.skipped)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The error names the file and says why; it is one of configuration."""
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot read the key set in .*setting: path"):
            StaticKeySet.from_file(path)


def test_a_file_that_holds_no_key_set(tmp_path: Path) -> None:
    """It is refused when it is read and not at the first token."""
    path = tmp_path / "keys.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(InvalidKeySetError):
        StaticKeySet.from_file(path)


def test_the_status_of_keys_in_memory() -> None:
    """Nothing is ever due."""
    status = StaticKeySet.from_jwks(key_set(entry(kid="a", x5c=["!"]))).status()
    assert ("memory", "", 1) == (status.location, status.issuer, status.generation)
    assert ("its certificate cannot be read and is ignored",) == status.keys[0].remarks
