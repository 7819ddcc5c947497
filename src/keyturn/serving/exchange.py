"""One request and its answer, without a socket.

Refusals have one form everywhere, that of RFC 6749, section 5.2: `error` is for programs and stays, `error_description` is for people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keyturn.testing.faults import Answer, Sender

JSON = {"content-type": "application/json"}
"""What most answers are."""

_NOT_DESCRIPTIVE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked.

    Attributes:
        method: As sent.
        path: Without the query.
        query: Behind the question mark, which is not in it.
        headers: Header fields, names in lower case, each once.
        body: All of it.
        sender: Whoever waits for the answer.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    sender: Sender = field(default_factory=Sender)

    @property
    def media_type(self) -> str:
        """Type of the body without parameters, in lower case (RFC 9110, section 8.3)."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class RefusedError(Exception):
    """The request is not granted.

    Attributes:
        status: HTTP status.
        code: Name of the reason, for programs.
        headers: Header fields of the answer.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})

    def answer(self) -> Answer:
        """Return what the sender gets."""
        return json_answer({"error": self.code, "error_description": described(str(self))}, self.status, self.headers)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return *value* as an answer that no cache keeps."""
    body = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    return Answer(status, {**JSON, "cache-control": "no-store", **(headers or {})}, body)


def described(text: str) -> str:
    """Return *text* in the letters that `error_description` may have (RFC 6749, section 5.2)."""
    return _NOT_DESCRIPTIVE.sub("?", text.replace('"', "'").replace("\\", "/").replace("…", "..."))
