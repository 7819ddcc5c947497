"""Tokens of GitHub Actions workflows.

Any repository of anybody gets a token for any audience, so who may call has to be said: `repository_owner_id` and `repository_id` stay when
something is renamed, names may be taken over by others (GitHub documentation, "OpenID Connect reference").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Unpack

from keyturn.dialect import Dialect
from keyturn.errors import ConfigurationError
from keyturn.issuers._preset import build, one_of, texts
from keyturn.issuers.settings import Settings
from keyturn.validator import TokenValidator

ISSUER = "https://token.actions.githubusercontent.com"
"""The issuer of github.com; an enterprise may have one of its own."""


def validator(
    *,
    audience: str | Collection[str],
    repositories: str | Collection[str] | None = None,
    repository_ids: str | Collection[str] | None = None,
    owner_ids: str | Collection[str] | None = None,
    issuer: str = ISSUER,
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of workflows of certain repositories. Each restriction that is given must hold.

    Args:
        audience: The audience that workflows ask for.
        repositories: Repositories by name, `owner/name`.
        repository_ids: Repositories by number, as text.
        owner_ids: Owners by number, as text.
        issuer: The issuer, if it is not that of github.com.
        **settings: Settings that every preset takes.

    Raises:
        ConfigurationError: Nothing says whose workflows are accepted, or a setting is wrong.
    """
    given = (
        ("repository", repositories, "repositories", "octo-org/octo-repo"),
        ("repository_id", repository_ids, "repository_ids", "74"),
        ("repository_owner_id", owner_ids, "owner_ids", "65"),
    )
    checks: list[Callable[[Mapping[str, Any]], None]] = [
        one_of(claim, texts(value, setting, example), setting) for claim, value, setting, example in given if value is not None
    ]
    if not checks:
        raise ConfigurationError(
            "nothing says whose workflows are accepted, expected one of repositories, repository_ids or owner_ids (setting: repository_ids)",
            hint="Every repository on the same server gets tokens of this issuer for any audience.",
        )
    return build(issuer, audience=audience, dialect=Dialect(checks=tuple(checks)), **settings)
