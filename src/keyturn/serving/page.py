"""The page for a person: one file with its style and its script, which asks nothing of any other place.

The policy that goes with it names the digest of both, so that nothing else runs in it, whatever a kid or a claim says
(Content Security Policy Level 3, section 2.3.1).
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib.resources import files

from keyturn.testing.faults import Answer


@functools.cache
def page() -> Answer:
    """Return the page with its policy."""
    text = files("keyturn.serving").joinpath("page.html").read_text(encoding="utf-8")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_digest(text, 'script')}",
            f"style-src {_digest(text, 'style')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ]
    )
    headers = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-store",
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "x-frame-options": "DENY",
    }
    return Answer(200, headers, text.encode())


def _digest(text: str, element: str) -> str:
    content = text.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
