"""Takes tokens out of text that is shown: one may have been given, or written by a program, where something else belongs."""

from __future__ import annotations

import re

# The header of every compact JWS is a JSON object, and so begins with these three characters in base64url.
_TOKEN = re.compile(r"eyJ[\w.-]*")


def without_tokens(text: str) -> str:
    """Return *text* without anything that begins as a token does."""
    return _TOKEN.sub("(a token)", text)
