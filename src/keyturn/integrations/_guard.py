"""What all adapters hold: whose tokens are good, what they must grant, and what a refusal says."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from keyturn.client import KeySetClient
from keyturn.errors import ConfigurationError, KeysUnavailableError, KeyturnError, quoted
from keyturn.integrations._bearer import NOTHING, Answer, Challenge, Names, Needs, metadata_document, metadata_location, token_of
from keyturn.router import IssuerRouter
from keyturn.status import KeySetStatus
from keyturn.validated_token import ValidatedToken
from keyturn.validator import TokenValidator

logger = logging.getLogger("keyturn.integrations")

Judge = TokenValidator | IssuerRouter
"""Whoever judges a token."""


class BearerGuard:
    """Judges requests for every adapter: takes the token out of the header, validates it, and asks for scopes and roles.

    Adapters take a validator or router alone, too; then every setting here has its default.

    Args:
        validator: Judges tokens; one for the whole application.
        scopes: What every request needs: names joined by blanks or in a collection, all of them; or `any_of(...)`.
        roles: The same for roles. Scopes (what a user consented to) and roles (what an application or user may) are never merged.
        realm: The part of the service that tokens are for, shown to people (RFC 9110, section 11.5).
        resource: The URL by which clients know this service. Refusals then name its metadata, and `metadata()` describes it (RFC 9728).
        authorization_servers: Issuers that the metadata names; those of the validator unless given.
        supported_scopes: Scopes that the metadata names, beside those that every request needs.

    Attributes:
        validator: Judges tokens.
        needs: What every request needs.
        realm: The part of the service that tokens are for, or None.
        resource: The URL by which clients know this service, or None.

    Raises:
        ConfigurationError: A setting does not fit into a header, or *validator* is none.
    """

    def __init__(
        self,
        validator: Judge,
        *,
        scopes: Names = (),
        roles: Names = (),
        realm: str | None = None,
        resource: str | None = None,
        authorization_servers: Collection[str] | None = None,
        supported_scopes: Collection[str] = (),
    ) -> None:
        if not isinstance(validator, Judge):
            raise ConfigurationError(f"validator is {quoted(validator)}, expected a TokenValidator or an IssuerRouter (setting: validator)")
        self.validator = validator
        self.needs = Needs(scopes, roles)
        self._challenge = Challenge(realm, None if resource is None else metadata_location(resource))
        self.realm = realm
        self.resource = resource
        # A template of many tenants is no place where a client could go.
        known = [name for name in validator.issuers if "{" not in name] if authorization_servers is None else authorization_servers
        self._issuers = tuple(sorted(set(known)))
        self._supported = tuple(Needs(supported_scopes).challenge)

    @classmethod
    def of(cls, guard: Self | Judge) -> BearerGuard:
        """Return *guard*, or one with every default around a validator or router."""
        return guard if isinstance(guard, BearerGuard) else BearerGuard(guard)

    def check(self, authorization: Iterable[str | bytes], needs: Needs = NOTHING, *, query: str | bytes = "") -> ValidatedToken:
        """Return the token of a request that may pass.

        Args:
            authorization: Every value of the `Authorization` field, one for each time it was sent.
            needs: What this place needs, beside what every request needs.
            query: The query string of the URL.

        Raises:
            MissingTokenError: No token (401).
            InvalidRequestError: Not exactly one token (400).
            InvalidTokenError: The token is at fault (401).
            InsufficientScopeError: It does not grant what is needed (403).
            KeysUnavailableError: Nobody can know (503).
        """
        return self._granted(self.validator.validate(token_of(authorization, query)), needs)

    async def check_async(self, authorization: Iterable[str | bytes], needs: Needs = NOTHING, *, query: str | bytes = "") -> ValidatedToken:
        """Do the same as `check()`, without blocking the event loop."""
        return self._granted(await self.validator.validate_async(token_of(authorization, query)), needs)

    def answer(self, error: KeyturnError, needs: Needs = NOTHING) -> Answer:
        """Return what *error* is answered with (RFC 6750, section 3).

        Args:
            error: Why the request may not pass. It goes to the log `keyturn.integrations`, at DEBUG: whoever sends junk would fill another.
                A fault of the service's own (500) goes there at ERROR.
            needs: What this place needs, beside what every request needs.
        """
        ours = error.http_status >= KeyturnError.http_status and not isinstance(error, KeysUnavailableError)
        logger.log(logging.ERROR if ours else logging.DEBUG, "answered %d: %s", error.http_status, error)
        return self._challenge.answer(error, self._told(needs))

    def metadata(self) -> Mapping[str, Any]:
        """Return the protected resource metadata, to be served as JSON at `metadata_path` (RFC 9728, section 2).

        Raises:
            ConfigurationError: No *resource* was given.
        """
        return metadata_document(self._known_resource(), self._issuers, (*self._told(NOTHING), *self._supported))

    @property
    def metadata_path(self) -> str:
        """Path at which `metadata()` has to be served (RFC 9728, section 3.1).

        Raises:
            ConfigurationError: No *resource* was given.
        """
        location = metadata_location(self._known_resource())
        return "/" + location.split("/", 3)[3]

    @property
    def discovery_url(self) -> str | None:
        """Where clients find the discovery document, for descriptions of an API; None if there are several issuers or no https one."""
        known = [name for name in self.validator.issuers if name.startswith("https://") and "{" not in name]
        return known[0].removesuffix("/") + "/.well-known/openid-configuration" if len(known) == 1 else None

    def readiness(self, *, require_all: bool = False) -> Answer:
        """Return the answer of a readiness route: 200 or 503, and how old each issuer's keys are.

        It never waits. A look at a cold or overdue issuer starts its refresh, so that a process without traffic becomes ready by being asked.

        Args:
            require_all: Whether every issuer must be ready. By default one is enough: an outage of one partner would otherwise take
                every process out of rotation (R15).
        """
        found = self.validator.status()
        statuses = {found.issuer: found} if isinstance(found, KeySetStatus) else found
        ready = (all if require_all else any)(status.ready for status in statuses.values())
        body = {"ready": ready, "issuers": {name: _shown(status) for name, status in statuses.items()}}
        return Answer(200 if ready else 503, {"Cache-Control": "no-store"}, body)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read the keys of every issuer, and keep them fresh until the context ends; for the lifespan of an application.

        It is optional. An issuer that cannot be reached delays the start by its `deadline` and stops nothing: its keys are read later.
        """
        judge = self.validator
        validators = judge.validators if isinstance(judge, IssuerRouter) else (judge,)
        clients = dict.fromkeys(each.client for each in validators if isinstance(each.client, KeySetClient))
        async with AsyncExitStack() as stack:
            for client in clients:
                try:
                    await client.refresh_async()
                except KeysUnavailableError as error:
                    logger.warning("the application starts without keys of %s: %s", quoted(client.issuer), error)
                await stack.enter_async_context(client.keep_fresh())
            yield

    def _granted(self, token: ValidatedToken, needs: Needs) -> ValidatedToken:
        for each in (self.needs, needs):
            each.check(token)
        return token

    def _told(self, needs: Needs) -> tuple[str, ...]:
        """Return every scope to ask for: a client that is told half of them would come back with a token that is refused again."""
        return tuple(dict.fromkeys((*self.needs.challenge, *needs.challenge)))

    def _known_resource(self) -> str:
        if self.resource is None:
            raise ConfigurationError('no resource is given, expected a URL such as "https://api.example.com" (setting: resource)')
        return self.resource


def _shown(status: KeySetStatus) -> dict[str, Any]:
    return {
        "ready": status.ready,
        "stale": status.stale,
        "age": status.age,
        "next_refresh": status.next_refresh,
        "last_error": status.last_error_code,
    }
