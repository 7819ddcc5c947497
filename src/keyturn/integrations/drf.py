"""Bearer tokens for Django REST framework: an authentication class, permissions for scopes and roles, and an error handler.

Rules of this file:

1. The settings are those of `keyturn.integrations.django`; `BearerAuthentication` stands first, because only the first class is asked for
   a challenge.
2. A refusal is an `APIException` with the headers that the framework's own error handler knows; the rest is written by the view.
3. The framework is sync: its views wait for keys on their threads.
"""

from __future__ import annotations

from typing import Any, cast

from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from keyturn.errors import InsufficientScopeError, KeyturnError, MissingTokenError
from keyturn.integrations._bearer import NOTHING, Every, Names, Needs
from keyturn.integrations._django import current_guard, judge
from keyturn.validated_token import ValidatedToken

__all__ = ["BearerAuthentication", "BearerRefusal", "Requires", "exception_handler", "requires"]


class BearerRefusal(exceptions.APIException):
    """A refusal with its answer, which the framework sends as `{"detail": ...}`.

    Attributes:
        error: Why the request may not pass.
        auth_header: The challenge, or None.
        wait: Seconds after which to ask again, or None.
    """

    def __init__(self, error: KeyturnError, needs: Needs = NOTHING) -> None:
        answer = current_guard().answer(error, needs)
        super().__init__(answer.body["error_description"], answer.body["error"])
        self.error = error
        self.status_code = answer.status
        self.auth_header = answer.headers.get("WWW-Authenticate")
        retry_after = answer.headers.get("Retry-After")
        self.wait = None if retry_after is None else int(retry_after)


class BearerAuthentication(BaseAuthentication):
    """Fills `request.auth` with the `ValidatedToken`, and `request.user` with that or what `KEYTURN_USER_FROM_TOKEN` makes of it."""

    def authenticate(self, request: Request) -> tuple[Any, ValidatedToken] | None:
        """Return the user and the token; None without credentials, so that the next class is asked.

        Raises:
            BearerRefusal: The token is bad, or nobody can know.
        """
        _vary(request)
        asked = request._request  # noqa: SLF001 - the framework's own classes read Django's request there
        try:
            token = judge(asked, NOTHING)
        except MissingTokenError:
            return None
        except KeyturnError as error:
            _no_store(request)
            raise BearerRefusal(error, _needs_of(request)) from error
        return cast("Any", asked).user, token

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge for a request without credentials. Without one the framework would answer 403."""
        _no_store(request)
        return str(BearerRefusal(MissingTokenError("the request has no token"), _needs_of(request)).auth_header)


class Requires(BasePermission):
    """Asks of a token what `needs` says; a token alone, unless a subclass says more. Made by `requires()`."""

    needs: Needs = NOTHING

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the token grants what is needed; False for a user without a token, such as a session's.

        Raises:
            BearerRefusal: It does not, and no other permission could let the request in.
        """
        if not isinstance(request.auth, ValidatedToken):
            return False
        try:
            self.needs.check(request.auth)
        except InsufficientScopeError as error:
            if not any(isinstance(each, Requires) and each.needs == self.needs for each in view.get_permissions()):
                # Part of an expression such as `requires("a") | IsAdminUser`, which asks on.
                return False
            _no_store(request)
            raise BearerRefusal(error, _needs_of(request)) from error
        return True


def requires(scopes: Names = (), roles: Names = ()) -> type[Requires]:
    """Return a permission class: `permission_classes = [requires("orders:read")]`.

    Args:
        scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
        roles: The same for roles.
    """
    return type("Requires", (Requires,), {"needs": Needs(scopes, roles)})


def exception_handler(error: Exception, context: dict[str, Any]) -> Any:
    """Answer errors of keyturn that views raise themselves; an `EXCEPTION_HANDLER`, which hands all others to the framework's own."""
    # The settings name this module, and the framework's views read them while they are imported themselves.
    from rest_framework.views import exception_handler as default_handler  # noqa: PLC0415

    if isinstance(error, KeyturnError):
        _no_store(context["request"])
        error = BearerRefusal(error)
    return default_handler(error, context)


def _needs_of(request: Request) -> Needs:
    """Return what the view of *request* needs in all, because a client is told all that it has to ask for."""
    kinds = getattr(_view_of(request), "permission_classes", ())
    return Every(*(kind.needs for kind in kinds if isinstance(kind, type) and issubclass(kind, Requires)))


def _no_store(request: Request) -> None:
    # The framework's error handler has no place for this field; what a view writes here goes into its response.
    headers = getattr(_view_of(request), "headers", None)
    if headers is not None:
        headers["Cache-Control"] = "no-store"


def _vary(request: Request) -> None:
    # Releases of Django's cache that do not look at the header by themselves would serve an answer to whoever asks next.
    headers = getattr(_view_of(request), "headers", None)
    if headers is not None and "Authorization" not in headers.get("Vary", ""):
        headers["Vary"] = ", ".join(filter(None, (headers.get("Vary"), "Authorization")))


def _view_of(request: Request) -> Any:
    return (request.parser_context or {}).get("view")
