"""The discovery document (OpenID Connect Discovery 1.0, section 3; RFC 8414, section 2).

Rules of this file:

1. `issuer` equals the configured one code point by code point; nothing is normalised, and of a document of another issuer
   nothing is used (Discovery, section 4.3; RFC 8414, section 3.3).
2. Algorithm lists and `signed_metadata` change nothing: what is verified follows from configuration and keys.
3. Whether `jwks_uri` may be asked is judged by where the document was reached (`location.py`), not here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyturn._core.strict_json import NotStrictJSONError, RepeatedMember, parse_document
from keyturn.errors import DiscoveryError, quoted

WELL_KNOWN = "/.well-known/openid-configuration"


def discovery_url(issuer: str) -> str:
    """Return where the document of *issuer* stands, after one final slash was removed (Discovery, section 4.1)."""
    return issuer.removesuffix("/") + WELL_KNOWN


@dataclass(frozen=True, slots=True)
class DiscoveryDocument:
    """What an issuer says about itself.

    Attributes:
        issuer: The issuer, equal to the configured one.
        jwks_uri: Where its key set is published.
        metadata: The whole document; nothing in it was checked but the two members above.
    """

    issuer: str
    jwks_uri: str
    metadata: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, document: bytes, *, issuers: str | Collection[str], content_type: str = "") -> DiscoveryDocument:
        """Read a document.

        Args:
            document: The document as sent.
            issuers: The configured issuer, or several names of it; the document must say one of them.
            content_type: Content-Type that came with it; an HTML page is refused.

        Raises:
            DiscoveryError: Unreadable, of another issuer, or without `jwks_uri`.
        """
        issuers = (issuers,) if isinstance(issuers, str) else issuers
        metadata = _object(document, content_type)
        issuer = metadata.get("issuer")
        if not isinstance(issuer, str) or issuer not in issuers:
            raise DiscoveryError(
                f"the discovery document is of issuer {quoted(issuer)}, expected {' or '.join(quoted(name) for name in issuers)} (setting: issuer)",
                hint=_issuer_hint(issuer, issuers),
            )
        jwks_uri = metadata.get("jwks_uri")
        if not isinstance(jwks_uri, str):
            raise DiscoveryError(
                f'the discovery document has no usable "jwks_uri": {quoted(jwks_uri)}',
                hint="If the key set's address is known, set `jwks_url`.",
            )
        return cls(issuer, jwks_uri, metadata)


def _object(document: bytes, content_type: str) -> dict[str, Any]:
    try:
        parsed = parse_document(document, content_type)
    except NotStrictJSONError as error:
        raise DiscoveryError(f"expected a discovery document, got {error}", hint=_WRONG_PLACE) from None
    if isinstance(parsed, RepeatedMember):
        raise DiscoveryError("the discovery document names a member twice")
    if not isinstance(parsed, dict):
        raise DiscoveryError("expected a discovery document, got JSON that is not an object", hint=_WRONG_PLACE)
    if "keys" in parsed and "issuer" not in parsed:
        raise DiscoveryError("expected a discovery document, got a key set", hint="Set `jwks_url` instead of `discovery_url`.")
    return parsed


_WRONG_PLACE = "Check `issuer`, or set `discovery_url` to where the document stands."


def _issuer_hint(issuer: object, issuers: Collection[str]) -> str:
    if isinstance(issuer, str) and any(issuer.rstrip("/") == name.rstrip("/") for name in issuers):
        return "The two differ by a final slash alone. Issuers are compared character by character: set `issuer` to what the document says."
    return "If this is the right place under another name, set `issuer` to what the document says, and `discovery_url` to where it stands."
