"""What a validator's answer says about each step of the judgement.

The validator stops at the first failure, so every step before it passed and none after it was reached. Which step it was follows from
the class of the error and, where one class serves two steps, from the same checks made once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from keyturn._core import base64url
from keyturn._core.signatures import DEFAULT_ALGORITHMS
from keyturn._core.strict_json import NotStrictJSONError, parse_token_part
from keyturn._core.token import check_header
from keyturn.clock import SystemClock
from keyturn.errors import (
    ClaimError,
    DisallowedAlgorithmError,
    InvalidIssuerError,
    InvalidSignatureError,
    KeysUnavailableError,
    KeyturnError,
    MalformedTokenError,
    RevokedKeyError,
    UnknownKeyError,
    quoted,
)
from keyturn.validated_token import ValidatedToken
from keyturn.validator import TokenValidator

STEPS = ("form", "header", "issuer", "claims", "key look-up", "signature")
"""The steps of the judgement, in their order."""

Outcome = Literal["passed", "failed", "unknown", "not reached"]

_HEADER = ("kid", "alg", "typ")
_CLAIMS = ("iss", "aud", "exp")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the judgement.

    Attributes:
        name: One of `STEPS`.
        outcome: What became of it.
        detail: What was seen, or why it failed.
    """

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one token.

    Attributes:
        steps: Every step.
        told: What may be shown of the token: if it failed, a few escaped values whose names say that they are unverified.
        error: Why it failed, or None.
    """

    steps: tuple[Step, ...]
    told: Mapping[str, str]
    error: KeyturnError | None

    @property
    def exit_code(self) -> int:
        """0 for a good token, 1 for a bad one, 3 if nobody can know."""
        if self.error is None:
            return 0
        return 3 if isinstance(self.error, KeysUnavailableError) else 1

    def record(self) -> dict[str, Any]:
        """Return the verdict for JSON; `valid` is null if nobody can know."""
        error = self.error
        return {
            "valid": {0: True, 1: False, 3: None}[self.exit_code],
            "steps": [{"step": step.name, "outcome": step.outcome, "detail": step.detail} for step in self.steps],
            "error": error
            and {
                "code": error.code,
                "http_status": error.http_status,
                "message": error.message,
                "hint": error.hint,
                "claim": error.claim if isinstance(error, ClaimError) else None,
                "retry_after": error.retry_after,
            },
            "token": dict(self.told),
        }


def passed_verdict(validated: ValidatedToken, token: str, validator: TokenValidator) -> Verdict:
    """Return the verdict on a token that passed."""
    details = _details(token, validator)
    details["signature"] = f"verifies by {validated.header['alg']} under key {quoted(validated.key_id)}"
    told = {
        "issuer": quoted(validated.issuer),
        "subject": quoted(validated.subject),
        "audience": quoted(validated.audience),
        "client": quoted(validated.client_id),
        "scopes": quoted(sorted(validated.scopes)),
        "roles": quoted(sorted(validated.roles)),
        "key": quoted(validated.key_id),
        "claims": ", ".join(quoted(name) for name in sorted(validated.claims)),
    }
    return Verdict(tuple(Step(name, "passed", details[name]) for name in STEPS), told, None)


def failed_verdict(error: KeyturnError, token: str, validator: TokenValidator) -> Verdict:
    """Return the verdict on a token that failed, or on which none could be reached."""
    header, claims = _part(token, 0), _part(token, 1)
    stopped = STEPS.index(_step_of(error, header, claims, validator))
    details = _details(token, validator)
    failed: Outcome = "unknown" if isinstance(error, KeysUnavailableError) else "failed"
    steps = [Step(name, "passed", details[name]) for name in STEPS[:stopped]]
    steps.append(Step(STEPS[stopped], failed, error.message))
    steps += [Step(name, "not reached", "") for name in STEPS[stopped + 1 :]]
    told = {f"unverified {name}": quoted(part[name]) for part, names in ((header, _HEADER), (claims, _CLAIMS)) for name in names if name in part}
    return Verdict(tuple(steps), told, error)


def _step_of(error: KeyturnError, header: Mapping[str, Any], claims: Mapping[str, Any], validator: TokenValidator) -> str:
    if isinstance(error, MalformedTokenError):
        return "header" if _header_fails(header) else "form"
    if isinstance(error, DisallowedAlgorithmError):
        return "header"
    if isinstance(error, InvalidSignatureError):
        return "signature"
    if isinstance(error, (KeysUnavailableError, UnknownKeyError, RevokedKeyError)):
        return "key look-up"
    if isinstance(error, InvalidIssuerError) and claims.get("iss") in validator.issuers:
        # The token's issuer is ours, so it was the key that is published for another one alone.
        return "key look-up"
    claim = error.claim if isinstance(error, ClaimError) else ""
    return {"typ": "header", "iss": "issuer"}.get(claim, "claims")


def _header_fails(header: Mapping[str, Any]) -> bool:
    if not header:
        return False
    try:
        check_header(header, DEFAULT_ALGORITHMS)
    except KeyturnError:
        return True
    return False


def _details(token: str, validator: TokenValidator) -> dict[str, str]:
    """Return what is seen at each step that passes; nothing of it is shown of a step that did not."""
    header, claims = _part(token, 0), _part(token, 1)
    return {
        "form": f"three segments, {len(token)} characters",
        "header": ", ".join(f"{name} {quoted(header[name])}" for name in ("alg", "kid", "typ") if name in header),
        "issuer": quoted(claims.get("iss")),
        "claims": f"aud {quoted(claims.get('aud'))}, {_time_left(claims.get('exp'))}",
        "key look-up": _fitting(header, validator),
        "signature": "",
    }


def _time_left(expiry: object) -> str:
    if isinstance(expiry, bool) or not isinstance(expiry, (int, float)):
        return "no expiry"
    left = expiry - SystemClock().wall()
    return f"expires in {left:.0f} s" if left > 0 else f"expired {-left:.0f} s ago, within the leeway"


def _fitting(header: Mapping[str, Any], validator: TokenValidator) -> str:
    snapshot = getattr(validator.client, "snapshot", None)
    if snapshot is None:
        return ""
    keys = snapshot().candidates(header).keys if isinstance(header.get("alg"), str) else ()
    shown = ", ".join(f"{key.kty} {key.curve or key.size} {key.thumbprint}" for key in keys[:4])
    return f"{len(keys)} key{'' if len(keys) == 1 else 's'} of {len(snapshot().keys)}: {shown}{', …' if len(keys) > 4 else ''}"  # noqa: PLR2004 - a line's worth


def _part(token: str, number: int) -> dict[str, Any]:
    """Return the unverified header (0) or payload (1), or nothing if it cannot be read."""
    try:
        value = parse_token_part(base64url.decode(token.split(".")[number].encode("ascii")))
    except (NotStrictJSONError, ValueError, IndexError):
        return {}
    return value if isinstance(value, dict) else {}
