"""All bad tokens.

What one token against one issuer cannot carry stands in `ELSEWHERE`, with the place where keyturn's own tests have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from keyturn.errors import quoted
from keyturn.testing.attacks.bad_token import BadToken, Material
from keyturn.testing.attacks.claims import CLAIMS
from keyturn.testing.attacks.form import FORM
from keyturn.testing.attacks.trust import TRUST

if TYPE_CHECKING:
    from keyturn.testing.issuer import FakeIssuer

CASES: Final = (*FORM, *TRUST, *CLAIMS)
"""Every case of the catalogue."""

BAD_TOKENS: Final = tuple(case.name for case in CASES)
"""Names of all bad tokens, to parametrise tests with before there is an issuer."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "AT31": "two issuers behind one router: tests/unit/test_router.py",
    "AT37": "a mirrored ECDSA signature is good by the standard, so it is accepted: tests/unit/attacks_on_signatures.py",
    "AT50": "tokens for Microsoft Graph, which the Entra preset knows: FakeEntra.graph_token(), tests/unit/test_issuers_entra.py",
    "AT51": "ten thousand tokens that must cost no request: tests/unit/test_attack_classes.py",
    "AT52": "what an error says: tests/unit/test_attack_classes.py",
}
"""Classes of attacks that no single token against one issuer can carry, and where they are tested."""


def bad_tokens(issuer: FakeIssuer, *, publish: bool) -> tuple[BadToken, ...]:
    """Return the bad tokens of *issuer*, as `FakeIssuer.bad_tokens()` describes it.

    Raises:
        ValueError: The signing key is not published.
    """
    # One instant: a step between two tokens would make the later ones bad for another reason, and two callers would publish twice.
    with issuer._lock:  # noqa: SLF001 - issuer and catalogue are one kit
        if issuer.signing_kid not in issuer.published_kids:
            raise ValueError(
                f"kid {quoted(issuer.signing_kid)} signs and is not published, expected a published key: every token would be refused for that alone"
            )
        material = Material(issuer)
        if publish:
            published = [entry.get("kid") for entry in issuer.jwks()["keys"] if isinstance(entry, dict)]
            for entry in material.entries():
                if entry["kid"] not in published:
                    issuer.add_entry(entry)
        return tuple(case.against(material) for case in CASES if publish or not case.needs_entry)
