"""A signing key in the hands of a thief.

Rules of this file:

1. It signs as its issuer did, and goes on doing so whatever becomes of the issuer's own keys.
2. The key itself is not told: not by `repr`, not by pickle.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from keyturn.testing.keys import PrivateKey, base64url, without_none


class StolenKey:
    """A key that left its issuer; `KeyRing.emergency()` returns it.

    Attributes:
        kid: Kid that steps call it by.
        algorithm: Its algorithm.
    """

    def __init__(self, kid: str, private: PrivateKey, entry: Mapping[str, Any], *, owner: object) -> None:
        self.kid = kid
        self.algorithm = private.algorithm
        self._private = private
        # Keys are lent: as long as the owner lives, nobody else is given this one.
        self._owner = owner
        self._named = {name: entry.get(name) for name in ("kid", "x5t", "x5t#S256")}

    def __repr__(self) -> str:
        return f"<StolenKey {self.kid!r} {self.algorithm}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled (2)."""
        raise TypeError("a StolenKey cannot be pickled; forge the tokens where the key was stolen")

    def forge(self, token: str, headers: Mapping[str, Any] | None = None) -> str:
        """Return a token as it would be if this key had signed it: the same claims, this key's header, its signature.

        Args:
            token: Any token of three segments, of whichever key: `stolen.forge(issuer.token(subject="mallory"))`.
            headers: Header parameters, added or in place of ours; None leaves one out.
        """
        header, payload, _ = token.split(".")
        theirs = json.loads(base64.urlsafe_b64decode(header + "=="))
        # A token of an issuer that names certificates is named after this key's; the others carry a kid alone.
        named = {name: value for name, value in self._named.items() if name == "kid" or name in theirs}
        mine = without_none({**theirs, "alg": self.algorithm, **named, **(headers or {})})
        signing_input = f"{base64url(json.dumps(mine, separators=(',', ':')).encode())}.{payload}"
        return f"{signing_input}.{base64url(self._private.sign(signing_input.encode()))}"
