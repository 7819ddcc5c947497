"""A catalogue of hostile tokens, key sets and discovery documents: one function per class, many cases each.

Rules of this file:

1. A case says which error must come out, exactly, and whether it must come out before any key is asked for (R6).
2. A case whose error is None must be accepted: a check that refuses what the standard allows is a fault, too.
3. A class may change the issuer (publish, add entries) before it yields; whoever judges builds the validator afterwards.

The classes stand in `attacks_on_form.py`, `attacks_on_json.py`, `attacks_on_trust.py`, `attacks_on_signatures.py`,
`attacks_on_claims.py` and `attacks_by_documents.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyturn import KeyturnError
from keyturn.testing import FakeIssuer


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile (or merely odd) token.

    Attributes:
        label: What is odd about it.
        token: What is handed to `validate()`.
        error: The exact class that must come out; None for a token that must be accepted.
        cheap: Whether it must be refused before any key is asked for.
        settings: Settings of the validator beside the defaults.
        static: The class where keys are fixed, if it is another one.
        says: Text that message or hint must hold.
    """

    label: str
    token: Any = field(repr=False)
    error: type[KeyturnError] | None
    cheap: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    static: type[KeyturnError] | None = None
    says: str = ""


Attacks = Callable[[FakeIssuer], Iterator[Attack]]
"""Takes an issuer with one ES256 key "k1", yields the cases of one class."""
