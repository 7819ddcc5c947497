"""A certificate authority that is made on the spot, for a loopback server with TLS.

Rules of this file:

1. It lives in memory, for one server, for as long as the server does; nothing is trusted beyond the contexts that it hands out.
2. It is made by `trustme`, which `keyturn[testing]` brings and which is loaded when a server asks for it.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection

from keyturn.errors import ConfigurationError

NAMES = ("127.0.0.1", "localhost")
"""Names in the server's certificate."""


class PrivateCa:
    """One authority, and the certificate of one server.

    Args:
        names: Names and addresses in the server's certificate.

    Attributes:
        pem: Certificate of the authority.

    Raises:
        ConfigurationError: The extra is not installed.
    """

    def __init__(self, names: Collection[str] = NAMES) -> None:
        try:
            import trustme  # noqa: PLC0415 - an extra, loaded when somebody asks for it (2)
        except ImportError as cause:
            raise ConfigurationError(
                "https needs a certificate, which is made by trustme, and that is not installed",
                hint='It comes with an extra: pip install "keyturn[testing]".',
            ) from cause
        authority = trustme.CA()
        self._certificate = authority.issue_cert(*names)
        self.pem: bytes = authority.cert_pem.bytes()

    def server_context(self) -> ssl.SSLContext:
        """Return a context for the server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a context for a client that trusts this authority alone."""
        return ssl.create_default_context(cadata=self.pem.decode())
