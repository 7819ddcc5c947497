"""An orders API with Flask: what you would write, with your own issuer.

`python -m examples.flask` starts it before a fake issuer.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, request

from keyturn import TokenValidator
from keyturn.integrations import BearerGuard
from keyturn.integrations.flask import Bearer, current_token

AUDIENCE = "api://orders"

bearer = Bearer()
orders = Blueprint("orders", __name__)
_orders: dict[str, list[str]] = {"alice": ["17 teapots", "1 kettle"]}


def create_app(issuer: str) -> Flask:
    """Return the application for tokens of *issuer*."""
    app = Flask(__name__)
    bearer.init_app(app, BearerGuard(TokenValidator(issuer, audience=AUDIENCE), realm="orders"))
    app.add_url_rule("/ready", view_func=bearer.readiness)
    app.register_blueprint(orders)
    return app


@orders.get("/orders")
@bearer.requires("orders:read")
def list_orders() -> dict[str, Any]:
    """List the orders of whoever asks."""
    return {"orders": _orders.get(current_token.subject or "", [])}


@orders.post("/orders")
@bearer.requires("orders:write")
def order() -> tuple[dict[str, Any], int]:
    """Order what the body says."""
    mine = _orders.setdefault(current_token.subject or "", [])
    mine.append(request.get_data(as_text=True))
    return {"orders": mine}, 201


@orders.get("/")
@bearer.requires(optional=True)
def greet() -> dict[str, Any]:
    """Greet whoever comes, with a name where there is one."""
    return {"hello": current_token.subject if current_token else "stranger"}
