"""Whether the key that verified a token names the cloud that is expected (Microsoft Entra publishes keys of several in one set)."""

from __future__ import annotations

from typing import Final

from keyturn._core.jwk import SigningKey
from keyturn._keeper import Keeper
from keyturn.errors import InvalidIssuerError, quoted
from keyturn.events import CloudMismatch

TOLD_EVERY: Final = 60.0
"""Seconds between two events about one key: every token that it signs would tell the same."""

_MOST_TOLD = 500


class CloudWatch:
    """Refuses keys of another cloud, or tells of them.

    Args:
        cloud: The cloud that is expected.
        refuse: Whether another one is refused.
        keeper: Who delivers events; None where nobody does.
    """

    def __init__(self, cloud: str, refuse: bool, keeper: Keeper | None) -> None:  # noqa: FBT001 - a setting handed on
        self._cloud = cloud
        self._refuse = refuse
        self._keeper = keeper
        self._told: dict[str, float] = {}

    def look(self, key: SigningKey, issuer: str, now: float) -> None:
        """Judge *key*; one that names no cloud passes.

        Raises:
            InvalidIssuerError: It names another cloud, and that is refused.
        """
        if key.cloud is None or not key.cloud.strip() or key.cloud == self._cloud:
            return
        if self._refuse:
            raise InvalidIssuerError(
                f"the key that verified the token is of cloud {quoted(key.cloud)}, expected {quoted(self._cloud)} (setting: check_cloud)",
                claim="iss",
                expected=f"a key of cloud {quoted(self._cloud)}",
                actual=quoted(issuer),
            )
        if self._keeper is not None and not 0 <= now - self._told.get(key.thumbprint, -TOLD_EVERY) < TOLD_EVERY:
            self._tell(self._keeper, key, now)

    def _tell(self, keeper: Keeper, key: SigningKey, now: float) -> None:
        if len(self._told) >= _MOST_TOLD:
            self._told = {}
        self._told[key.thumbprint] = now
        event = CloudMismatch(issuer=keeper.state.issuer, at=now, kid=key.kid, thumbprint=key.thumbprint, expected=self._cloud, actual=str(key.cloud))
        keeper.deliver((event,))
