"""The paths that a middleware answers itself, without a token: readiness, and the metadata of a resource (RFC 9728)."""

from __future__ import annotations

from urllib.parse import unquote

from keyturn.errors import ConfigurationError, quoted
from keyturn.integrations._bearer import Answer
from keyturn.integrations._guard import BearerGuard


class OwnRoutes:
    """What stands before the application.

    Args:
        guard: Says what is answered; its metadata is served if it has a resource.
        readiness_path: Path that tells whether tokens can be judged, below the place of the application; None for no such path.

    Raises:
        ConfigurationError: *readiness_path* is no path.
    """

    def __init__(self, guard: BearerGuard, readiness_path: str | None) -> None:
        if readiness_path is not None and not readiness_path.startswith("/"):
            raise ConfigurationError(f'readiness_path is {quoted(readiness_path)}, expected a path such as "/ready" (setting: readiness_path)')
        self._guard = guard
        self._readiness_path = readiness_path
        # Servers hand paths over decoded.
        self._metadata_path = None if guard.resource is None else unquote(guard.metadata_path.partition("?")[0])

    def answer(self, path: str, whole: str) -> Answer | None:
        """Return the answer to a request, or None if it is for the application.

        Args:
            path: The path below the place where the application is mounted.
            whole: The path from the root of the host: the metadata's place is counted from there (RFC 9728, section 3.1).
        """
        if path == self._readiness_path:
            return self._guard.readiness()
        return Answer(200, {}, self._guard.metadata()) if self._metadata_path in {path, whole} else None
