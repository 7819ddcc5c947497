"""A django-oauth-toolkit server on loopback whose signing keys a test can roll over while it runs.

It runs under an interpreter that has Django (`requirements/idp.txt`), never under the one of the tests.

1. Two servers on free ports of 127.0.0.1: the issuer, and a control server that only the test knows.
2. One line of JSON on stdout says that both listen and where; nothing else is ever written there.
3. The process ends when its stdin closes, so it never outlives the test that started it.
4. What needs configured settings is imported where it is used, because the settings need the port.
5. The toolkit's access tokens are opaque out of the box; `signed_token` makes them JWTs of the key that signs now.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings

HOST = "127.0.0.1"
APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"]
AUDIENCE = "api://orders"
SCOPE = "orders.read"
CLIENT_ID = "test-client"
WEB_CLIENT_ID = "test-web-site"
CALLBACK = f"http://{HOST}/callback"
CLIENT_SECRET = secrets.token_urlsafe(32)
MAX_AGE = 60
# Longer than any time that a test's clock is moved by, so that a refused token was refused for its key.
TOKEN_SECONDS = 30 * 24 * 3600

StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def new_pem() -> str:
    """Return a new RSA key; the toolkit knows no other kind."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def signed_token(request: Any, refresh_token: bool = False) -> str:
    """Return a JWT of the key that signs now (`ACCESS_TOKEN_GENERATOR`)."""
    from jwcrypto.jwt import JWT
    from oauth2_provider.settings import oauth2_settings
    from oauth2_provider.utils import jwk_from_pem

    key = jwk_from_pem(oauth2_settings.OIDC_RSA_PRIVATE_KEY)
    now = int(time.time())
    claims = {
        "iss": oauth2_settings.OIDC_ISS_ENDPOINT,
        "sub": request.client.client_id,
        "aud": AUDIENCE,
        "client_id": request.client.client_id,
        "scope": " ".join(request.scopes),
        "iat": now,
        "exp": now + request.expires_in,
        "jti": uuid.uuid4().hex,
    }
    token = JWT(header={"alg": "RS256", "typ": "at+jwt", "kid": key.thumbprint()}, claims=claims)
    token.make_signed_token(key)
    return str(token.serialize())


class Issuer:
    """Keys of the issuer and counts of what was asked: the first key signs, the others are published."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys = [new_pem()]
        self.counts = {"discovery": 0, "jwks": 0}

    def options(self) -> dict[str, Any]:
        """Return the toolkit's settings for the keys of this moment."""
        return {
            "OIDC_ENABLED": True,
            "OIDC_ISS_ENDPOINT": self.url,
            "OIDC_RSA_PRIVATE_KEY": self.keys[0],
            "OIDC_RSA_PRIVATE_KEYS_INACTIVE": self.keys[1:],
            "OIDC_JWKS_MAX_AGE_SECONDS": MAX_AGE,
            # The web site asks over http on loopback, and this is no test of PKCE.
            "ALLOWED_REDIRECT_URI_SCHEMES": ["http"],
            "PKCE_REQUIRED": False,
            "SCOPES": {SCOPE: "Read orders", "openid": "Sign in"},
            "ACCESS_TOKEN_EXPIRE_SECONDS": TOKEN_SECONDS,
            "ACCESS_TOKEN_GENERATOR": signed_token,
        }

    def run(self, command: str, body: dict[str, Any]) -> None:
        """Do what the test asks for; raise `ValueError` on what is not known."""
        if command == "/publish":
            self.keys = [*self.keys, new_pem()]
        elif command == "/promote":
            key = self._find(body.get("kid"))
            self.keys = [key, *(other for other in self.keys if other != key)]
        elif command == "/rotate":
            self.keys = [new_pem(), *self.keys]
        elif command == "/retire" and len(self.keys) > 1:
            self.keys.remove(self._find(body.get("kid")))
        elif command == "/cut-over":
            self.keys = [new_pem()]
        else:
            message = f"expected a known command and a key that stays, got {command}"
            raise ValueError(message)
        self._reload()

    def state(self) -> dict[str, Any]:
        """Return counts, the kid that signs and the published keys in their order."""
        keys = [public_jwk(pem) for pem in self.keys]
        return {"counts": self.counts, "signing": keys[0]["kid"], "keys": keys}

    def _find(self, kid: object) -> str:
        for pem in self.keys:
            if public_jwk(pem)["kid"] == kid:
                return pem
        message = f"expected a published kid, got {kid}"
        raise ValueError(message)

    def _reload(self) -> None:
        from oauth2_provider.settings import oauth2_settings

        settings.OAUTH2_PROVIDER = self.options()
        oauth2_settings.reload()

    def counted(self, application: Application) -> Application:
        """Return *application* with its key requests counted."""

        def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            if path.endswith("/jwks.json"):
                self.counts["jwks"] += 1
            elif "/.well-known/" in path:
                self.counts["discovery"] += 1
            return application(environ, start_response)

        return answer

    def control(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """WSGI application of the control server."""
        status, answer = "200 OK", None
        try:
            if environ["REQUEST_METHOD"] == "POST":
                body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                self.run(environ["PATH_INFO"], json.loads(body or b"{}"))
            answer = self.state()
        except ValueError as error:
            status, answer = "400 Bad Request", {"error": str(error)}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


def public_jwk(pem: str) -> dict[str, Any]:
    """Return the published form of a key as the toolkit shows it."""
    from oauth2_provider.utils import jwk_from_pem

    key = jwk_from_pem(pem)
    return {"alg": "RS256", "use": "sig", "kid": key.thumbprint(), **json.loads(key.export_public())}


class QuietHandler(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parameter's name in the base class
        """Drop the line."""


class Server(ThreadingMixIn, WSGIServer):
    """One thread for each connection, so that no client that stays connected holds up another."""

    daemon_threads = True


def listening(application: Application | None = None) -> Server:
    """Return a server on a free port; it answers once its thread runs."""
    server = Server((HOST, 0), QuietHandler)
    server.set_app(application)
    return server


def address(server: Server) -> str:
    """Return the URL of *server*."""
    return f"http://{HOST}:{server.server_port}"


def configure(issuer: Issuer, folder: Path) -> None:
    """Set Django up in this process, make its tables, a client that asks for tokens and a web site that signs people in."""
    settings.configure(
        ALLOWED_HOSTS=[HOST],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "db.sqlite3"}},
        INSTALLED_APPS=APPS,
        # Tables are made straight from the models: their history of migrations takes a second.
        MIGRATION_MODULES={app.rpartition(".")[2]: None for app in APPS},
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"],
        ROOT_URLCONF=__name__,
        SECRET_KEY=secrets.token_urlsafe(32),
        USE_TZ=True,
        OAUTH2_PROVIDER=issuer.options(),
    )
    django.setup()

    from django.core.management import call_command
    from oauth2_provider.models import get_application_model

    call_command("migrate", run_syncdb=True, verbosity=0)
    applications = get_application_model().objects
    shared = {"client_secret": CLIENT_SECRET, "client_type": "confidential", "hash_client_secret": False}
    applications.create(client_id=CLIENT_ID, authorization_grant_type="client-credentials", **shared)
    applications.create(
        client_id=WEB_CLIENT_ID,
        authorization_grant_type="authorization-code",
        algorithm="RS256",
        redirect_uris=CALLBACK,
        skip_authorization=True,
        **shared,
    )


def signed_in(request: Any) -> Any:
    """View that signs a person in without a question, so that a test gets an ID token by the code flow."""
    from django.contrib.auth import get_user_model, login
    from django.http import HttpResponse

    login(request, get_user_model().objects.get_or_create(username="person")[0], backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("signed in")


def __getattr__(name: str) -> Any:
    """Return the URL patterns once Django asks for them: their views need configured settings."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.urls import include, path

    return [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")), path("signed-in", signed_in)]


def main() -> None:
    """Serve until stdin closes."""
    front = listening()
    issuer = Issuer(f"{address(front)}/o")
    control = listening(issuer.control)
    with tempfile.TemporaryDirectory() as folder:
        configure(issuer, Path(folder))

        from django.core.wsgi import get_wsgi_application

        front.set_app(issuer.counted(get_wsgi_application()))
        for server in (front, control):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        ready = {
            "issuer": issuer.url,
            "control": address(control),
            "token_url": f"{issuer.url}/token/",
            "sign_in_url": f"{address(front)}/signed-in",
            "authorize_url": f"{issuer.url}/authorize/",
            "callback": CALLBACK,
            "client_id": CLIENT_ID,
            "web_client_id": WEB_CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "audience": AUDIENCE,
            "scope": SCOPE,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
