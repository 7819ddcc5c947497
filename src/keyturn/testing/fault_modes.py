"""The ways in which a fake issuer fails, each a context manager.

Rules of this file:

1. Each fault is for one document, the key set unless told otherwise, or for discovery document and key set at once.
2. What a fault leaves out of account stays as it is published: `truncated()` cuts the real key set, `headers()` keeps the real body.
3. Contexts can be nested; how their faults meet is said in `faults.py`.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

from keyturn.testing.faults import Affected, Answer, Change, Delay, Drip, Faults, Gate, Replacement

JSON: Final = {"content-type": "application/json"}
"""Header fields of most documents."""

_GARBAGE: Final = bytes(range(256)) * 2
_PAGE: Final = b"<!doctype html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>\n"


class FaultModes:
    """The faults of whoever publishes documents."""

    _faults: Faults

    # Other answers.

    def answer(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None, *, document: Affected = "jwks"
    ) -> AbstractContextManager[object]:
        """Answer with this, whatever is published.

        Args:
            body: The bytes.
            status: HTTP status.
            headers: Header fields, added or in place of `content-type` (`application/json`) and `date` (by the issuer's clock).
            document: What it is for.
        """
        return self._faults.during(Replacement(document, Answer(status, {**JSON, **_lower(headers or {})}, body)))

    def down(self, status: int = 503, retry_after: float | str | None = None, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Answer with an error.

        Args:
            status: HTTP status.
            retry_after: Retry-After field: seconds, rounded up to whole ones, or text that is sent as it is (RFC 9110, section 10.2.3).
            document: What it is for.
        """
        field = math.ceil(retry_after) if isinstance(retry_after, float) else retry_after
        return self.answer(b'{"error":"down"}', status, {} if field is None else {"retry-after": str(field)}, document=document)

    def garbage(self, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Answer with status 200 and bytes that are no text."""
        return self.answer(_GARBAGE, document=document)

    def html(self, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Answer with status 200 and a page for people, as a proxy or a login in front of the issuer does."""
        return self.answer(_PAGE, headers={"content-type": "text/html; charset=utf-8"}, document=document)

    def empty(self, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Answer with status 200 and no body; `answer(b'{"keys":[]}')` publishes an empty set."""
        return self.answer(b"", document=document)

    def redirect(self, to: str, status: int = 302, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Point to another location.

        Args:
            to: The location.
            status: 301, 302, 303, 307 or 308 (RFC 9110, section 15.4).
            document: What it is for.
        """
        return self.answer(b"", status, {"location": to}, document=document)

    def not_modified(self, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Answer 304, which nobody asked for (RFC 9110, section 15.4.5)."""
        return self.answer(b"", 304, {"etag": '"keyturn"'}, document=document)

    def drop_connection(self, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Reset the connection instead of answering."""
        return self._faults.during(Replacement(document, None))

    # What is published, changed on its way.

    def headers(self, fields: Mapping[str, str], *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Send the published document with these header fields, added or in place of ours."""
        more = _lower(fields)
        return self._change(document, lambda answer: replace(answer, headers={**answer.headers, **more}))

    def truncated(self, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Promise the whole document, and break off in the middle."""
        return self._change(document, _half)

    def huge(self, size: int = 1_048_576, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Fill the published document with blanks up to a length, so that nothing but its length is wrong.

        Args:
            size: Bytes; the default lies above `RolloverPolicy.max_document_bytes`.
            document: What it is for.
        """
        return self._change(document, lambda answer: replace(answer, body=answer.body.ljust(size)))

    def compressed(self, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Send the published document compressed, although nobody allowed that (`Content-Encoding: gzip`)."""
        return self._change(document, _zipped)

    def wrong_issuer(self, issuer: str = "https://other-issuer.test") -> AbstractContextManager[object]:
        """Name another issuer in the discovery document (OpenID Connect Discovery, section 4.3).

        Args:
            issuer: What it says instead.
        """
        return self._change("discovery", _editing(lambda document: {**document, "issuer": issuer}))

    def bad_entry(self, entry: Any) -> AbstractContextManager[object]:
        """Publish one more entry, at the beginning of the key set, as long as the context lasts.

        Args:
            entry: A broken JWK, or anything else that JSON can express; `KeyRing.add_entry()` publishes one for good.

        Raises:
            ValueError: JSON cannot express it.
        """
        try:
            json.dumps(entry)
        except (TypeError, ValueError) as error:
            raise ValueError(f"entry is not JSON: {error}") from error
        return self._change("jwks", _editing(lambda document: {**document, "keys": [entry, *document["keys"]]}))

    # Time.

    def slow(self, seconds: float, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Hold every request for so many seconds of real time; leaving the context lets them go."""
        return self._faults.during(Delay(document, seconds))

    def gate(self, *, document: Affected = "jwks") -> AbstractContextManager[Gate]:
        """Block every request until the gate is opened or the context ends.

        The answer then says what was published when the request came, as one does that was long under way.
        """
        return self._faults.during(Gate(document))

    def drip(self, pace: float = 0.05, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Send the head at once and then a blank now and again; the document follows when the context has ended.

        Whoever limits the time between two bytes waits for ever; whoever limits the whole time does not.

        Args:
            pace: Real seconds from one blank to the next.
            document: What it is for.
        """
        return self._faults.during(Drip(document, pace))

    def _change(self, document: Affected, change: Callable[[Answer], Answer]) -> AbstractContextManager[object]:
        return self._faults.during(Change(document, change))


def _lower(fields: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in fields.items()}


def _half(answer: Answer) -> Answer:
    return replace(answer, headers={**answer.headers, "content-length": str(len(answer.body))}, body=answer.body[: len(answer.body) // 2])


def _zipped(answer: Answer) -> Answer:
    # Without the time of day, so that one document is always the same bytes.
    return replace(answer, headers={**answer.headers, "content-encoding": "gzip"}, body=gzip.compress(answer.body, mtime=0))


def _editing(edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Answer], Answer]:
    """Return a change of a JSON document; what another fault put in its place stays as it is."""

    def change(answer: Answer) -> Answer:
        try:
            edited = edit(json.loads(answer.body))
        except (ValueError, TypeError, KeyError):
            return answer
        return replace(answer, body=json.dumps(edited, separators=(",", ":")).encode())

    return change
