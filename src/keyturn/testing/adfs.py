"""AD FS for tests: one token-signing certificate after the other, by its published calendar or by hand.

Rules of this file:

1. Only the primary certificate signs; primary and secondary are published alike, without a mark, in an order that means nothing.
2. The calendar is that of AutoCertificateRollover: a secondary certificate is made and published 20 days before the primary expires,
   and becomes primary 5 days later. What was due while nobody looked has happened by the next look, at its own instant.
3. The old certificate stays published as secondary, expired or not, until the next one is made or somebody takes it out.
4. Tokens, documents and `keys` are looks. AD FS itself looks every twelve hours; here it happens on the minute.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from keyturn.clock import Clock
from keyturn.testing import federation_metadata as metadata
from keyturn.testing.certificates import DAY, CertifiedKeys, self_signed
from keyturn.testing.claims import audience_of, spaced, validity
from keyturn.testing.keys import RSA_BITS, mint
from keyturn.testing.publisher import Publication, Publisher, missing, published, published_xml

HOST: Final = "fs.keyturn.test"
"""Name of a federation service that was given none."""

CLIENT: Final = "7e57ab1e-0000-4000-8000-0000000000c1"
"""Client id of who its tokens are issued to unless another one is named."""


class FakeAdfs(Publisher):
    """One AD FS (Windows Server 2016 and later).

    Args:
        host: Name of its federation service.
        identifier: The name that it gives itself, in access tokens and in federation metadata; None means the usual one,
            `http://<host>/adfs/services/trust`.
        audience: Audience of access tokens that name none.
        clock: Clock of calendar, tokens and account; None means the machine's. Hand the same one to the validator.
        auto_rollover: Whether the calendar rolls its certificates over (AutoCertificateRollover).
        certificate_duration: Days for which a certificate is valid (CertificateDuration).
        generation_threshold: Days before the primary expires at which a secondary is made (CertificateGenerationThreshold).
        promotion_threshold: Days after that at which it becomes primary (CertificatePromotionThreshold).
        algorithm: Algorithm of its keys; one of `keyturn.testing.keys.ALGORITHMS`.
        sign_metadata: Whether federation metadata is signed, by the primary; None means if `keyturn[saml]` is installed.
        rsa_bits: Size of its RSA keys.

    Attributes:
        identifier: The name that it gives itself.
        audience: Audience of access tokens that name none.
        auto_rollover: Whether the calendar rolls its certificates over.
        clock: Clock of calendar, tokens and account.
        fetches: What was asked of it.

    Raises:
        ValueError: The thresholds leave no time for a rollover.
    """

    def __init__(
        self,
        host: str = HOST,
        *,
        identifier: str | None = None,
        audience: str | Collection[str] = "api://test",
        clock: Clock | None = None,
        auto_rollover: bool = True,
        certificate_duration: int = 365,
        generation_threshold: int = 20,
        promotion_threshold: int = 5,
        algorithm: str = "RS256",
        sign_metadata: bool | None = None,
        rsa_bits: int = RSA_BITS,
    ) -> None:
        super().__init__(clock)
        if not 0 <= promotion_threshold <= generation_threshold < certificate_duration - promotion_threshold:
            raise ValueError(
                f"a certificate of {certificate_duration} days, made {generation_threshold} days before the old one expires and promoted"
                f" {promotion_threshold} days later, expected promotion_threshold <= generation_threshold < the rest of certificate_duration"
            )
        self.identifier = identifier or f"http://{host}/adfs/services/trust"
        self.audience, self.auto_rollover = audience, auto_rollover
        self._host, self._sign_metadata = host, sign_metadata
        self._generation, self._promotion = generation_threshold * DAY, promotion_threshold * DAY
        self._lock = threading.RLock()
        self._at: float | None = None
        self._pending: tuple[str, float] | None = None
        self._keys = CertifiedKeys(
            now=self._instant, subject=f"ADFS Signing - {host}", lifetime=certificate_duration * DAY, algorithm=algorithm, rsa_bits=rsa_bits
        )
        # AD FS encrypts with another certificate, which stands in its metadata too and signs nothing.
        encrypting = mint("RS256", owner=self, rsa_bits=rsa_bits)
        self._encryption = self_signed(encrypting, subject=f"ADFS Encryption - {host}", start=self.clock.wall(), seconds=certificate_duration * DAY)

    def __repr__(self) -> str:
        return f"<FakeAdfs {self._host} primary={self.primary!r} secondary={list(self.secondary)!r}>"

    @property
    def keys(self) -> CertifiedKeys:
        """Its token-signing certificates as of now, with the steps of a rollover by hand; the first one is called `k1`."""
        self._keep_calendar()
        return self._keys

    @property
    def primary(self) -> str:
        """What steps call the key that signs."""
        return self.keys.signing_kid

    @property
    def secondary(self) -> tuple[str, ...]:
        """What steps call the other keys that are published."""
        keys = self.keys
        return tuple(kid for kid in keys.published_kids if kid != keys.signing_kid)

    def update_certificate(self) -> str:
        """Make a new certificate and sign with it at once, as `Update-AdfsCertificate -CertificateType Token-Signing -Urgent` does.

        Returns:
            What steps call the new key. The old one stays published until `keys.retire()` takes it out.
        """
        with self._lock:
            kid = self._publish_next(self.keys)
            self._keys.promote(kid)
            # What waited for its promotion is older than the new primary.
            self._pending = None
            return kid

    # Documents.

    @property
    def origin(self) -> str:
        """Scheme and host of its documents."""
        return f"https://{self._host}"

    @property
    def issuer(self) -> str:
        """The issuer of its ID tokens and of its discovery document."""
        return f"{self.origin}/adfs"

    @property
    def discovery_url(self) -> str:
        """Where its discovery document stands."""
        return f"{self.issuer}/.well-known/openid-configuration"

    @property
    def jwks_url(self) -> str:
        """Where its key set stands."""
        return f"{self.issuer}/discovery/keys"

    @property
    def metadata_url(self) -> str:
        """Where its federation metadata stands."""
        return self.origin + metadata.PATH

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document; access tokens carry its `access_token_issuer` (MS-OIDCE)."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/oauth2/authorize/",
            "token_endpoint": f"{self.issuer}/oauth2/token/",
            "jwks_uri": self.jwks_url,
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "access_token_issuer": self.identifier,
        }

    def jwks(self) -> dict[str, Any]:
        """Return the key set as published now."""
        return self.keys.jwks()

    def metadata(self) -> bytes:
        """Return federation metadata as published now, signed by the primary if it is signed at all.

        Raises:
            ConfigurationError: It must be signed, and cannot be.
        """
        keys = self.keys
        certificates, address = keys.certificates(), f"{self.issuer}/ls/"
        encryption = metadata.descriptor(self._encryption, use="encryption")
        return metadata.document(
            self.identifier,
            metadata.application(encryption),
            metadata.token_service(certificates, address),
            metadata.service_provider(encryption, *(metadata.descriptor(each) for each in certificates)),
            metadata.identity_provider(certificates, address),
            signer=metadata.chosen_signer(self._sign_metadata, keys.lend),
        )

    # Tokens.

    def token(
        self,
        *,
        subject: str | None = "alice",
        audience: str | Collection[str] | None = None,
        client: str = CLIENT,
        scopes: str | Collection[str] | None = "openid",
        lifetime: float | timedelta = 3600,
        key: str | None = None,
        x5t_only: bool = False,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return an access token, good from now on by the clock of this AD FS.

        Args:
            subject: `sub`.
            audience: `aud`; None means that of this AD FS.
            client: Client id of who it is issued to, `appid`.
            scopes: `scp`, in one string.
            lifetime: Seconds from `iat` to `exp`, or a timedelta; negative for a token that has expired.
            key: What steps call the key to sign with; None means the primary.
            x5t_only: Whether its header names the certificate by `x5t` alone, without a kid.
            headers: Header parameters, added or in place of ours; None leaves one out.
            **claims: Claims, added or in place of those above; None leaves one out.

        Raises:
            ValueError: *key* is unknown.
        """
        payload = {
            "iss": self.identifier,
            "sub": subject,
            "aud": audience_of(self.audience if audience is None else audience),
            **validity(self.clock, lifetime),
            "apptype": "Confidential",
            "appid": client,
            "ver": "1.0",
            "scp": spaced(scopes),
        }
        named = {"kid": None} if x5t_only else {}
        return self._signed({**payload, **claims}, key=key, headers={**named, **(headers or {})})

    def id_token(
        self,
        *,
        subject: str | None = "alice",
        client: str = CLIENT,
        lifetime: float | timedelta = 3600,
        key: str | None = None,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return an ID token for *client*; `nonce=` writes the claim that a login asks for. The arguments are those of `token()`."""
        called = None if subject is None else f"{subject}@contoso.test"
        payload = {"iss": self.issuer, "sub": subject, "aud": client, **validity(self.clock, lifetime), "upn": called, "unique_name": called}
        return self._signed({**payload, **claims}, key=key, headers=headers)

    def forge(self, *, key: str | None = None, headers: Mapping[str, Any] | None = None, **token: Any) -> str:
        """Return an access token that names a key, but is signed with one that nobody of this process publishes.

        Args:
            key: Kid to claim, known or not; None means the primary.
            headers: As for `token()`.
            **token: Whatever else `token()` takes.
        """
        return self.keys.disguised(self.token, key=key, headers=headers, **token)

    def _signed(self, payload: Mapping[str, Any], *, key: str | None, headers: Mapping[str, Any] | None) -> str:
        keys = self.keys
        return keys.signed(payload, key=key, headers={"x5t": keys.x5t(key), **(headers or {})})

    # The calendar.

    def _instant(self) -> float:
        """Return the instant at which a certificate begins: now, or when it was due."""
        return self.clock.wall() if self._at is None else self._at

    def _keep_calendar(self) -> None:
        """Do what was due by now."""
        with self._lock:
            now = self.clock.wall()
            while self.auto_rollover:
                pending = self._still_pending()
                due = self._keys.not_after() - self._generation if pending is None else pending[1] + self._promotion
                if due > now:
                    return
                if pending is None:
                    self._generate(due)
                else:
                    self._keys.promote(pending[0])
                    self._pending = None

    def _still_pending(self) -> tuple[str, float] | None:
        """Return the certificate that waits for its promotion and when it was made, unless a step by hand was faster."""
        pending = self._pending
        if pending and (pending[0] not in self._keys.published_kids or pending[0] == self._keys.signing_kid):
            pending = self._pending = None
        return pending

    def _generate(self, at: float) -> None:
        """Make the next secondary; whatever was secondary before it goes."""
        old = [kid for kid in self._keys.published_kids if kid != self._keys.signing_kid]
        self._at = at
        try:
            self._pending = (self._publish_next(self._keys), at)
        finally:
            self._at = None
        for kid in old:
            self._keys.retire(kid)

    def _publish_next(self, keys: CertifiedKeys) -> str:
        """Publish a certificate under the next free name; return it."""
        number = len(keys.known_kids) + 1
        while f"k{number}" in keys.known_kids:
            number += 1
        keys.publish(f"k{number}")
        return f"k{number}"

    def _served(self) -> tuple[str, str]:
        return self.discovery_url, self.jwks_url

    def _published(self, location: str) -> Publication:
        place = location.partition("?")[0]
        if place == self.discovery_url:
            return published("discovery", self.discovery())
        if place == self.jwks_url:
            return published("jwks", self.jwks())
        parts = urlsplit(place)
        if f"{parts.scheme}://{parts.netloc}" == self.origin and parts.path.lower() == metadata.PATH.lower():
            return published_xml(self.metadata())
        return missing()
