"""Who judges the tokens of this project, and what its users are; the settings name both."""

from __future__ import annotations

import os
from dataclasses import dataclass

from keyturn import TokenValidator, ValidatedToken
from keyturn.integrations import BearerGuard

AUDIENCE = "api://orders"

guard = BearerGuard(TokenValidator(os.environ["ORDERS_ISSUER"], audience=AUDIENCE), realm="orders")


@dataclass(frozen=True)
class Customer:
    """A user; in a project with a database an instance of its model."""

    pk: str
    name: str
    is_authenticated: bool = True


def customer(token: ValidatedToken) -> Customer | None:
    """Return the customer of a token; None for tokens that are nobody's, which are refused."""
    return None if token.subject is None else Customer(token.pk, token.subject)
