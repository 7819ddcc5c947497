"""Judging one token of one issuer, from its form to its signature.

The order of judgement: size and form; header; payload; issuer; every claim check; key look-up, and only now perhaps a refresh (R6);
signature; claim checks again if a wait lay between. The first failure is the error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, cast

from keyturn._clouds import CloudWatch
from keyturn._core import claims as check
from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import MOST_KEYS, KeySet
from keyturn._core.policy import RolloverPolicy
from keyturn._core.signatures import DEFAULT_ALGORITHMS
from keyturn._core.token import UnverifiedToken, check_media_type, read_token
from keyturn._headers import Fitting, Headers
from keyturn._inquiry import Inquiry
from keyturn._judging_settings import allowed, claim_names, names, within
from keyturn._token_cache import MOST_TOKENS, Accepted, RememberedToken, TokenCache
from keyturn.client import KeySetClient
from keyturn.clock import Clock, SystemClock
from keyturn.dialect import Dialect
from keyturn.errors import ConfigurationError, InvalidIssuerError, InvalidSignatureError, UnknownKeyError, quoted
from keyturn.events import EventHandler
from keyturn.fetching import Fetcher
from keyturn.sources import KeySource
from keyturn.status import KeySetStatus
from keyturn.stores.store import Store
from keyturn.validated_token import ValidatedToken

TokenType = Literal["access", "at+jwt", "id"]

LONGEST_LEEWAY: Final = 300.0
"""Seconds of leeway that may be set: more would be a second lifetime, not a tolerance for clocks."""

LARGEST_TOKEN: Final = 262_144
"""Characters that `max_token_bytes` may be raised to: no header field of a web server holds more."""


class _Kind(NamedTuple):
    """How one kind of token is told and judged."""

    media_types: frozenset[str | None]
    expected: str


_KINDS: Mapping[str, _Kind] = {
    "access": _Kind(frozenset({None, "application/jwt", "application/at+jwt"}), 'no typ, "JWT" or "at+jwt"'),
    "at+jwt": _Kind(frozenset({"application/at+jwt"}), '"at+jwt"'),
    "id": _Kind(frozenset({None, "application/jwt"}), 'no typ or "JWT"'),
}


class TokenValidator:
    """Validates compact JWTs of one issuer with keys that follow its rollover.

    One object serves any number of threads and event loops at once; build it once and share it. Building it opens nothing.

    Args:
        source: The issuer, whose keys are then kept current by a `KeySetClient` of its own; or a source of keys.
        audience: Who this service is: a token is accepted if its `aud` names one of these (RFC 7519, section 4.1.3).
        issuer: The names that `iss` may have for these keys; the source's own unless given.
        algorithms: Allowed signature algorithms; all asymmetric ones unless given (RFC 8725, section 3.1).
        leeway: Seconds by which clocks may differ, at most 300.
        token_type: `"access"`, `"at+jwt"` (RFC 9068 in full) or `"id"` (OpenID Connect Core, section 2).
        required_claims: Claims that must be there. `"cnf"` says that you check what the token is bound to.
        max_token_bytes: Length above which a token is refused unread.
        token_cache_size: How many accepted tokens to remember, so that the same one again is spared its signature; 0 for none.
        dialect: Where the issuer's tokens differ from the general rules, for issuers without a preset (`keyturn.issuers`).
        policy: The numbers of rollover, if *source* is an issuer.
        fetcher: Reads documents, if *source* is an issuer.
        store: What survives a restart, if *source* is an issuer.
        clock: Time as the rules see it; the machine's unless given.
        on_event: One function, or several, called with every event, if *source* is an issuer.

    Raises:
        ConfigurationError: A setting is wrong, now and not at the first request.

    Attributes:
        client: Where the keys come from: `validator.client.revoke(...)`, `.refresh()`, `.status()`.
        issuers: The names that `iss` may have.
        max_token_bytes: Length above which a token is refused unread.
        dialect: Where the issuer's tokens differ from the general rules, or None.
    """

    def __init__(
        self,
        source: str | KeySource,
        *,
        audience: str | Collection[str],
        issuer: str | Collection[str] | None = None,
        algorithms: Collection[str] = DEFAULT_ALGORITHMS,
        leeway: float = 60,
        token_type: TokenType = "access",  # noqa: S107 - a kind of token, not a secret
        required_claims: Collection[str] = (),
        max_token_bytes: int = 16_384,
        token_cache_size: int = 0,
        dialect: Dialect | None = None,
        policy: RolloverPolicy | None = None,
        fetcher: Fetcher | None = None,
        store: Store | None = None,
        clock: Clock | None = None,
        on_event: EventHandler | Iterable[EventHandler] = (),
    ) -> None:
        if isinstance(source, str):
            source = KeySetClient(source, policy=policy, fetcher=fetcher, store=store, clock=clock, on_event=on_event)
        else:
            _refuse_second_settings(source, policy=policy, fetcher=fetcher, store=store, on_event=on_event or None)
        # Typed as what it is for an issuer, so that `validator.client.revoke(...)` type-checks; another source is what was handed in.
        self.client = cast("KeySetClient", source)
        self.issuers = names(issuer if issuer is not None else source.issuer, "issuer", "https://login.example.com")
        self._audiences = names(audience, "audience", "api://orders")
        self._algorithms = allowed(algorithms)
        self._leeway = within(leeway, 0.0, LONGEST_LEEWAY, "leeway")
        self.max_token_bytes = int(within(max_token_bytes, 1, LARGEST_TOKEN, "max_token_bytes"))
        self._kind = _known_kind(token_type)
        self._token_type = token_type
        self._checks = _checks(token_type, self._audiences, claim_names(required_claims))
        if dialect is not None and not isinstance(dialect, Dialect):
            raise ConfigurationError(f"dialect is {quoted(dialect)}, expected a Dialect (setting: dialect)")
        self.dialect = dialect
        if clock is not None and not isinstance(clock, Clock):
            raise ConfigurationError(f"clock is {quoted(clock)}, expected a Clock (setting: clock)")
        self._wall: Callable[[], float] = (clock or getattr(source, "_clock", None) or SystemClock()).wall
        self._headers = Headers()
        self._keys = source if isinstance(source, KeySetClient) else None
        self._keeper = None if self._keys is None else self._keys._keeper  # noqa: SLF001 - client and validator are one machine
        self._clouds = None if dialect is None or dialect.cloud is None else CloudWatch(dialect.cloud, dialect.check_cloud, self._keeper)
        self._make: Callable[..., ValidatedToken] = ValidatedToken if dialect is None else dialect.token
        self._tokens = self._token_cache(token_cache_size)

    def validate(self, token: str, *, nonce: str | None = None) -> ValidatedToken:
        """Return *token*'s claims after every check has passed; waits for a refresh only if its key is not held.

        Args:
            token: The compact token, without a scheme in front of it.
            nonce: What the login sent; only for `token_type="id"` (OpenID Connect Core, section 3.1.3.7).

        Raises:
            InvalidTokenError: The token is at fault (401).
            KeysUnavailableError: Nobody can know: the issuer's keys could not be read (503).
            ConfigurationError: *nonce* was given for another kind of token.
        """
        # A nonce belongs to one login, so a token that comes with one is never the same again.
        tokens = self._tokens if nonce is None else None
        if tokens is not None and (again := tokens.again(token)) is not None:
            return again
        unverified = self._read(token, nonce)
        key = self._held(unverified)
        if isinstance(key, tuple):
            key = self._look_up(unverified, nonce, key)
        return self._accepted(token, unverified, key, tokens)

    async def validate_async(self, token: str, *, nonce: str | None = None) -> ValidatedToken:
        """Do the same as `validate()`, without blocking the event loop (asyncio or trio)."""
        # A nonce belongs to one login, so a token that comes with one is never the same again.
        tokens = self._tokens if nonce is None else None
        if tokens is not None and (again := tokens.again(token)) is not None:
            return again
        unverified = self._read(token, nonce)
        key = self._held(unverified)
        if isinstance(key, tuple):
            key = await self._look_up_async(unverified, nonce, key)
        return self._accepted(token, unverified, key, tokens)

    def status(self) -> KeySetStatus:
        """Return where the keys stand; a look at cold or overdue ones starts their refresh in the background."""
        return self.client.status()

    def __repr__(self) -> str:
        """Return issuer and audience."""
        return f"<TokenValidator of {' and '.join(map(quoted, sorted(self.issuers)))} for {' and '.join(map(quoted, sorted(self._audiences)))}>"

    def _token_cache(self, size: int) -> TokenCache | None:
        size = int(within(size, 0, MOST_TOKENS, "token_cache_size"))
        if size and self._keeper is None:
            raise ConfigurationError(
                f"token_cache_size is {size}, and the source of keys is a {type(self.client).__name__}, expected a KeySetClient "
                "(setting: token_cache_size)",
                hint="Another source is asked with every token, so nothing can be spared.",
            )
        if not size or self._keeper is None:
            return None
        return TokenCache(size, self._keeper, self._wall, self._leeway, self._made_again, longest=self.max_token_bytes)

    # Before the key: nothing here waits or fetches (R6).

    def _read(self, token: str, nonce: str | None) -> UnverifiedToken:
        # Another source of keys has no generations, and is asked with each token.
        known = self._headers.known(None if self._keeper is None else self._keeper.memory)
        unverified = read_token(token, self._algorithms, self.max_token_bytes, known)
        header, claims, _, _, _, before = unverified
        if before is None:
            check_media_type(header, self._kind.media_types, self._kind.expected)
        if self.dialect is not None:
            self.dialect.check_first(header, claims)
        self._judge(claims, nonce)
        return unverified

    def _judge(self, claims: dict[str, Any], nonce: str | None) -> None:
        now = self._wall()
        if self.dialect is None:
            check.check_issuer(claims, self.issuers)
            check.check_audience(claims, self._audiences)
        else:
            self.dialect.check_names(claims, self.issuers, self._audiences)
        check.check_expiry(claims, now, self._leeway)
        check.check_start(claims, now, self._leeway)
        for each in self._checks:
            each(claims)
        if self.dialect is not None:
            self.dialect.check_claims(claims)
        if nonce is not None:
            if self._token_type != "id":  # noqa: S105 - a kind of token, not a secret
                raise ConfigurationError('a nonce is compared for ID tokens alone (setting: token_type="id")')
            check.check_nonce(claims, nonce)

    # The key.

    def _held(self, unverified: UnverifiedToken) -> SigningKey | Fitting:
        """Return the held key that verifies the signature; if this takes a decision, the keys that were tried in vain."""
        keeper = self._keeper
        if keeper is None or keeper.is_due():
            return ()
        header, _, signature, signing_input, segment, known = unverified
        memory = keeper.memory
        if known is not None and known.memory is not memory:
            # The set has changed since the token was read.
            known = None
        fitting: Fitting = memory.get((header.get("kid"), header["alg"]), ()) if known is None else known.keys
        for key, verify in fitting:
            if verify(signature, signing_input):
                keeper.used(key)
                if known is None:
                    self._headers.remember(segment, header, fitting, memory)
                else:
                    self._headers.touch(known)
                return key
        return fitting

    def _look_up(self, unverified: UnverifiedToken, nonce: str | None, tried: Fitting) -> SigningKey:
        if self._keys is None:
            return self._verified(unverified, self.client.keys_for(unverified.unverified_header))
        try:
            inquiry = self._keys._find(self._keys._inquiry(unverified.unverified_header, _verifier(unverified, tried)))  # noqa: SLF001
        except UnknownKeyError as error:
            self._explain(error, unverified)
            raise
        return self._after_wait(unverified, nonce, inquiry)

    async def _look_up_async(self, unverified: UnverifiedToken, nonce: str | None, tried: Fitting) -> SigningKey:
        if self._keys is None:
            return self._verified(unverified, await self.client.keys_for_async(unverified.unverified_header))
        try:
            inquiry = await self._keys._find_async(self._keys._inquiry(unverified.unverified_header, _verifier(unverified, tried)))  # noqa: SLF001
        except UnknownKeyError as error:
            self._explain(error, unverified)
            raise
        return self._after_wait(unverified, nonce, inquiry)

    def _after_wait(self, unverified: UnverifiedToken, nonce: str | None, inquiry: Inquiry) -> SigningKey:
        if inquiry.waited:
            self._judge(unverified.unverified_claims, nonce)
        algorithm = unverified.unverified_header["alg"]
        fitting = tuple((key, key.verifier(algorithm)) for key in inquiry.match.held.keys)
        self._headers.remember(unverified.header_segment, unverified.unverified_header, fitting, inquiry.match.memory)
        return inquiry.found[0]

    def _verified(self, unverified: UnverifiedToken, keys: tuple[SigningKey, ...]) -> SigningKey:
        key = _first_that_verifies(unverified, keys)
        self._headers.remember(unverified.header_segment, unverified.unverified_header, (), None)
        return key

    def _accepted(self, token: str, unverified: UnverifiedToken, key: SigningKey, tokens: TokenCache | None) -> ValidatedToken:
        if self.dialect is not None:
            key = self._scoped(self.dialect, unverified, key)
        elif key.issuer is not None:
            _refuse_another_issuer(unverified, key)
        if tokens is not None:
            tokens.enter(token, unverified, key)
        return self._make(unverified.unverified_claims, unverified.unverified_header, key.id)

    def _made_again(self, accepted: Accepted) -> ValidatedToken:
        """Return a token that was accepted before; what a dialect checks may depend on more than the token, so it is checked again."""
        if self.dialect is None:
            return RememberedToken(accepted)
        claims = accepted.claims()
        self.dialect.check_claims(claims)
        return self._make(claims, accepted.header, accepted.key.id)

    def _scoped(self, dialect: Dialect, unverified: UnverifiedToken, key: SigningKey) -> SigningKey:
        """Return *key*, or the same material under another entry, that may vouch for this token; which entry stands first means nothing (R2).

        Raises:
            InvalidIssuerError: It was published for other issuers alone, or for another cloud.
        """
        claims = unverified.unverified_claims
        fitting = key
        if not dialect.is_for(key, claims, self.issuers):
            snapshot = getattr(self.client, "snapshot", KeySet)()
            held = snapshot.candidates(unverified.unverified_header, limit=MOST_KEYS).keys
            found = next((other for other in held if other.thumbprint == key.thumbprint and dialect.is_for(other, claims, self.issuers)), None)
            if found is None:
                raise InvalidIssuerError(
                    f"issuer is {quoted(claims['iss'])}, but the key that verified the token is published for {quoted(key.issuer)} alone",
                    claim="iss",
                    expected=quoted(key.issuer),
                    actual=quoted(claims["iss"]),
                )
            fitting = found
        if self._clouds is not None:
            self._clouds.look(fitting, str(claims["iss"]), self._wall())
        return fitting

    def _explain(self, error: UnknownKeyError, unverified: UnverifiedToken) -> None:
        """Put the hint of the dialect in the place of the general one, once the issuer was asked and publishes nothing of that name."""
        asked = error.retry_after is None and self._keys is not None and self._keys.snapshot().why_not(unverified.unverified_header) is None
        if self.dialect is not None and asked:
            error.hint = self.dialect.hint_for_key(unverified.unverified_claims) or error.hint


def _refuse_another_issuer(unverified: UnverifiedToken, key: SigningKey) -> None:
    issuer = unverified.unverified_claims["iss"]
    if key.issuer != issuer:
        raise InvalidIssuerError(
            f"issuer is {quoted(issuer)}, but the key that verified the token is published for {quoted(key.issuer)} alone",
            claim="iss",
            expected=quoted(key.issuer),
            actual=quoted(issuer),
        )


def _verifier(unverified: UnverifiedToken, tried: Fitting = ()) -> Callable[[SigningKey], bool]:
    """Return whether a key verifies the signature; a forged token is not tried under the same keys twice."""
    header, _, signature, signing_input, _, _ = unverified
    in_vain = [key for key, _ in tried]

    def verifies(key: SigningKey) -> bool:
        return not any(key is other for other in in_vain) and key.verifies(header["alg"], signature, signing_input)

    return verifies


def _first_that_verifies(unverified: UnverifiedToken, keys: tuple[SigningKey, ...]) -> SigningKey:
    verifies, issuer = _verifier(unverified), unverified.unverified_claims["iss"]
    found = [key for key in keys if verifies(key)]
    if not found:
        raise _bad_signature(len(keys))
    # The same material may be published for several issuers; which of them stands first means nothing (R2).
    return next((key for key in found if key.issuer in {None, issuer}), found[0])


def _bad_signature(tried: int) -> InvalidSignatureError:
    return InvalidSignatureError(
        f"the signature verifies under none of {tried} keys that fit", hint="The token was altered, or signed with a key that is not published."
    )


def _checks(token_type: TokenType, audiences: frozenset[str], required: frozenset[str]) -> tuple[check.Check, ...]:
    """Return the claim checks of one kind of token, chosen once, in the order in which they are made."""
    kinds: dict[TokenType, check.Check] = {
        "access": check.check_access,
        "at+jwt": check.check_at_jwt,
        "id": lambda claims: check.check_id(claims, audiences),
    }
    chosen: list[check.Check] = [kinds[token_type], check.check_shapes]
    if "cnf" not in required:
        chosen.append(check.check_binding)
    if required:
        chosen.append(lambda claims: check.check_required(claims, required))
    return tuple(chosen)


def _refuse_second_settings(source: object, **settings: object) -> None:
    if not isinstance(source, KeySource):
        raise ConfigurationError(f"source is {quoted(source)}, expected an issuer or a source of keys (setting: source)")
    for setting, value in settings.items():
        if value is not None:
            raise ConfigurationError(f"{setting} belongs to the source of keys that was handed in, and cannot be set here (setting: {setting})")


def _known_kind(token_type: str) -> _Kind:
    if not isinstance(token_type, str) or token_type not in _KINDS:
        raise ConfigurationError(f"token_type is {quoted(token_type)}, expected one of {', '.join(_KINDS)} (setting: token_type)")
    return _KINDS[token_type]
