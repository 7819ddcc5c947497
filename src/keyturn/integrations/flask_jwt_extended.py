"""A drop-in for applications on flask-jwt-extended: its decorators stay, keyturn judges their tokens.

Rules of this file:

1. flask-jwt-extended asks for a key, and hands over no token. It gets an object that PyJWT takes for a key, and that asks the guard when
   PyJWT has it verify a signature. So the whole order of judgement holds, and nothing is looked up for a token that cannot pass (R6).
2. What PyJWT and flask-jwt-extended check besides they go on checking, afterwards.
3. An error from there would be a 500, so `register()` has the application answer errors of keyturn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask
from flask_jwt_extended import JWTManager
from jwt import PyJWK

from keyturn._core import base64url
from keyturn._core.signatures import DEFAULT_ALGORITHMS
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations.flask import register_error_handlers

__all__ = ["decode_key_loader", "register"]

Loader = Callable[[Mapping[str, Any], Mapping[str, Any]], PyJWK]


class _Judgement:
    """What PyJWT calls as an algorithm: a signature is right if the guard lets its token pass."""

    def __init__(self, guard: BearerGuard) -> None:
        self._guard = guard

    def prepare_key(self, key: Any) -> Any:
        return key

    def check_key_length(self, key: Any) -> None:
        """Say nothing: the guard knows the lengths."""

    def verify(self, msg: bytes, key: Any, sig: bytes) -> bool:  # noqa: ARG002 - PyJWT's signature
        self._guard.check([b"Bearer " + msg + b"." + base64url.encode(sig).encode()])
        return True


class _JudgingKey(PyJWK):
    def __init__(self, guard: BearerGuard, algorithm: Any) -> None:
        # Not by PyJWK's own constructor: there is no key material here, and the algorithm is whatever the guard makes of it.
        self._jwk_data = {}
        self.algorithm_name = algorithm
        self.Algorithm: Any = _Judgement(guard)
        self.key = None


def decode_key_loader(guard: BearerGuard | Judge) -> Loader:
    """Return a function for `JWTManager.decode_key_loader`. Beside it the application needs what `register()` does.

    Args:
        guard: Judges tokens; a validator or router alone will do.
    """
    known = BearerGuard.of(guard)

    def load(unverified_header: Mapping[str, Any], _unverified_claims: Mapping[str, Any]) -> PyJWK:
        return _JudgingKey(known, unverified_header.get("alg"))

    return load


def register(app: Flask, manager: JWTManager, guard: BearerGuard | Judge) -> None:
    """Have the tokens of *manager* judged by *guard*, and errors of keyturn answered as its Flask adapter does.

    `JWT_DECODE_ALGORITHMS` is set to every algorithm of keyturn, unless it has a value: which of them are allowed the validator decides.

    Args:
        app: The application.
        manager: Its manager.
        guard: Judges tokens; a validator or router alone will do.
    """
    manager.decode_key_loader(decode_key_loader(guard))
    register_error_handlers(app, guard)
    if not app.config.get("JWT_DECODE_ALGORITHMS"):
        app.config["JWT_DECODE_ALGORITHMS"] = list(DEFAULT_ALGORITHMS)
