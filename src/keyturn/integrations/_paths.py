"""Which token a path needs, for middleware that stands before an application it does not know.

Rules of this file:

1. The longest prefix that ends at the end of a segment wins; `None` makes what is below it public, everything else needs a good token.
2. A path that an application behind might read as another one never counts as public: it needs what all rules together need.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from keyturn.errors import ConfigurationError, quoted
from keyturn.integrations._bearer import NOTHING, Every, Needs

_AMBIGUOUS = re.compile(
    r"^[^/]"  # A scheme or a missing slash (`x:/orders`, `orders`): servers hand them on, and some frameworks route by the rest.
    r"|//|\\"  # Empty segments are dropped by some, and a backslash is a slash to others.
    r"|(?:^|/)\.{1,2}(?:;[^/]*)?(?:/|$)"  # Dot segments, with parameters behind them, too.
    # Encoded twice, and never with a need (RFC 3986, section 2.3): somebody may decode once more.
    r"|%(?:2[def]|25|3\d|[46][1-9a-f]|[57][\da]|5[cf]|7e)"
    r"|[\x00-\x1f\x7f]",  # Removed before parsing by some.
    re.IGNORECASE,
)
_HIDDEN_SLASH = re.compile(rb"%(?:2f|5c)", re.IGNORECASE)


class PathRules:
    """Rules for paths, told apart by their beginning.

    Args:
        rules: What a path and what is below it need, or None for no token: `{"/orders": Needs(scopes="orders:read"), "/health": None}`.

    Raises:
        ConfigurationError: A path does not start with a slash, is ambiguous or stands there twice, or a rule is none.
    """

    def __init__(self, rules: Mapping[str, Needs | None]) -> None:
        self._rules: dict[str, Needs | None] = {}
        for path, needs in rules.items():
            self._add(path, needs)
        self._strictest: Final = Every(*(needs for needs in self._rules.values() if needs is not None))

    def needs(self, path: str, raw_path: bytes = b"") -> Needs | None:
        """Return what a request for *path* needs; None if it is public.

        Args:
            path: The path below the application, decoded once, as ASGI and WSGI hand it over.
            raw_path: The path as it was sent, if the server tells: an encoded slash is hidden in the decoded one.
        """
        if _AMBIGUOUS.search(path) or _HIDDEN_SLASH.search(raw_path):
            return self._strictest
        prefix = path.rstrip("/")
        while prefix and prefix not in self._rules:
            prefix = prefix.rpartition("/")[0]
        return self._rules.get(prefix, NOTHING)

    def _add(self, path: str, needs: Needs | None) -> None:
        if not isinstance(path, str) or not path.startswith("/") or _AMBIGUOUS.search(path):
            raise ConfigurationError(f'rules name {quoted(path)}, expected a path such as "/orders" (setting: rules)')
        if needs is not None and not isinstance(needs, Needs):
            raise ConfigurationError(f"the rule for {quoted(path)} is {quoted(needs)}, expected Needs(...) or None (setting: rules)")
        prefix = path.rstrip("/")
        if prefix in self._rules:
            raise ConfigurationError(f"two rules are for {quoted(prefix or '/')}, expected one (setting: rules)")
        self._rules[prefix] = needs


def below(path: str, mounted: str) -> str:
    """Return the part of *path* below the place where the application is mounted (ASGI's `root_path`).

    Some frameworks cut `/v1` out of `/v1orders` and `/x/v1/orders`, too, others do not: then the part has no slash at its beginning,
    which no rule calls public.
    """
    mounted = mounted.rstrip("/")
    if not mounted or mounted not in path:
        return path
    return (path[len(mounted) :] or "/") if path.startswith(mounted) else path.lstrip("/")
