"""A Django project without a database: what its settings are, and how it is served. Imported before anything that needs settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.conf import settings

DECORATED: list[str] = []
"""Middleware of a project that uses the decorator alone."""

OPTIONAL = ["keyturn.integrations.django.BearerMiddleware"]
REQUIRED = ["keyturn.integrations.django.RequiredBearerMiddleware"]

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        DATABASES={},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "rest_framework", "ninja"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=DECORATED,
        NINJA_SKIP_REGISTRY=True,
        REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": ["keyturn.integrations.drf.BearerAuthentication"]},
        ROOT_URLCONF="tests.web.wsgi.django_urls",
        SECRET_KEY="made up for tests",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        USE_TZ=True,
    )
    django.setup()

# All of these need settings.
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.test import Client, override_settings  # noqa: E402
from tests.web.conformance import Headers, OverHttp, Reply, Subject  # noqa: E402
from tests.web.serving import by_uvicorn, by_wsgiref  # noqa: E402

from keyturn.integrations import BearerGuard  # noqa: E402


class Below(OverHttp):
    """The views of the table below a path."""

    def __init__(self, port: int, prefix: str) -> None:
        super().__init__(port)
        self.prefix = prefix

    def get(self, path: str, headers: Headers) -> Reply:
        """Send a request."""
        return super().get(self.prefix + path, headers)


@contextmanager
def by_wsgi(guard: BearerGuard, prefix: str, middleware: list[str] = DECORATED) -> Iterator[Subject]:
    """Serve the project over WSGI, on a thread for each request."""
    with override_settings(KEYTURN_GUARD=guard, MIDDLEWARE=middleware), by_wsgiref(WSGIHandler()) as port:
        yield Below(port, prefix)


@contextmanager
def by_asgi(guard: BearerGuard, prefix: str, middleware: list[str] = DECORATED) -> Iterator[Subject]:
    """Serve the project over ASGI, on one event loop."""
    with override_settings(KEYTURN_GUARD=guard, MIDDLEWARE=middleware), by_uvicorn(ASGIHandler(), lifespan="off", ws="none") as port:
        yield Below(port, prefix)


def ask(path: str, token: str | None = None, *, method: str = "GET", **settings: Any) -> Reply:
    """Send a request in Django's test client, which checks CSRF tokens as a server would."""
    with override_settings(**settings):
        client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        answer = client.generic(method, path, **({} if token is None else {"HTTP_AUTHORIZATION": f"Bearer {token}"}))
        return Reply(answer.status_code, list(answer.headers.items()), answer.content)
