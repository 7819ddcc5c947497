"""`keyturn serve`: the fake issuer as a command, for other languages, for front ends, and for people with a browser."""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from keyturn.cli.options import add_common_options
from keyturn.cli.output import Console
from keyturn.errors import ConfigurationError, quoted

if TYPE_CHECKING:
    from keyturn.serving.application import Application
    from keyturn.serving.exchange import Request
    from keyturn.serving.server import Server
    from keyturn.serving.tokens import Client
    from keyturn.testing.private_ca import PrivateCa

_DESCRIPTION = """\
Serve a fake issuer until it is ended: discovery document, key set, a token endpoint for client credentials, a control API that rolls its
keys over and makes it fail, and a page for a person. Its keys are made at the start and end with it.

It hands a token to whoever asks, so it is for tests and never for production. It listens on the loopback of this machine unless --host
says otherwise.
"""

_EPILOG = """\
exit codes: 0 ended by SIGTERM; 2 usage, or the port is in use; 130 interrupted

examples:
  keyturn serve
  keyturn serve --port 9000 --audience api://orders --json
"""

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")
# Clients write any other letter in another way than it was given, and would not find the documents.
_PLAIN_URL = re.compile(r"[A-Za-z0-9:/\[\]@!$&'()*+,;=._~%-]+")
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_HIGHEST_PORT = 65535
_LONGEST_LIFETIME = 31_536_000
_URLS = (
    ("issuer", "issuer"),
    ("discovery", "discovery_url"),
    ("key set", "jwks_url"),
    ("tokens", "token_endpoint"),
    ("control", "control_url"),
    ("page", "page_url"),
)


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "serve",
        help="serve a fake issuer for tests, with a page to roll its keys over",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen at (default: 127.0.0.1, for this machine alone)")
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="port to listen at (default: 0, any that is free)")
    parser.add_argument("--issuer", metavar="URL", help="name in tokens and documents (default: where it listens)")
    parser.add_argument(
        "--allow-host",
        type=_host_name,
        action="append",
        default=[],
        metavar="NAME",
        help="host name that page and control API answer to; may be given again",
    )
    parser.add_argument(
        "--audience", action="append", metavar="AUD", help="audience of tokens that ask for none; may be given again (default: api://test)"
    )
    parser.add_argument("--algorithm", default="ES256", metavar="ALG", help="algorithm of keys that are made without one (default: ES256)")
    parser.add_argument("--kid", default="k1", metavar="KID", help="kid of the first key (default: k1)")
    parser.add_argument("--lifetime", type=_lifetime, default=3600, metavar="S", help="seconds for which tokens are good (default: 3600)")
    parser.add_argument("--client-id", metavar="ID", help="the only client that may ask for tokens (default: any)")
    parser.add_argument("--client-secret", metavar="SECRET", help="its secret, made up for tests; the list of processes shows it")
    parser.add_argument("--tls", action="store_true", help="speak https, with a certificate of a CA that is made at the start")
    parser.add_argument("--ca-out", metavar="FILE", help="write the certificate of that CA to this file, for whoever is to trust it")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it; return 0 after SIGTERM.

    Raises:
        ConfigurationError: An argument cannot be used, or the port is in use.
        KeyboardInterrupt: A person pressed Ctrl-C.
    """
    from keyturn.serving.server import Server  # noqa: PLC0415 - loads the fake issuer

    console = Console.of(args)
    _check(args)
    client = _client(args)
    authority = _authority(args)
    context = None if authority is None else authority.server_context()
    server = Server(args.host, args.port, lambda url: _application(args, url, client), context=context, told=_teller(console))
    try:
        if authority is not None and args.ca_out is not None:
            # Not before: where the port is in use, the file may be that of whoever has it.
            _write_certificate(Path(args.ca_out), authority.pem)
        with _terminable():
            # Not before: whoever reads the announcement may end this process at once.
            _announce(args, console, server, authority)
            server.serve_forever()
    except _Terminated:
        console.note("ended by SIGTERM")
    finally:
        server.close()
    return 0


def _check(args: argparse.Namespace) -> None:
    """Look at what is made only once it listens: the port is for a call that is right."""
    from keyturn.serving.members import LONGEST_KID  # noqa: PLC0415 - loads the fake issuer
    from keyturn.testing.keys import ALGORITHMS  # noqa: PLC0415 - loads the fake issuer

    if not 0 < len(args.kid) <= LONGEST_KID:
        raise ConfigurationError(f"kid is {quoted(args.kid)}, expected a text of 1 to {LONGEST_KID} characters (setting: --kid)")
    if "" in (args.audience or []):
        raise ConfigurationError('audience is "", expected a name such as "api://orders" (setting: --audience)')
    if args.issuer is not None:
        _issuer(args.issuer)
    if args.algorithm not in ALGORITHMS:
        raise ConfigurationError(f"algorithm is {quoted(args.algorithm)}, expected one of {', '.join(ALGORITHMS)} (setting: --algorithm)")


def _client(args: argparse.Namespace) -> Client | None:
    from keyturn.serving.tokens import Client  # noqa: PLC0415 - loads the fake issuer

    if args.client_id is None and args.client_secret is None:
        return None
    if not args.client_id or not args.client_secret:
        raise ConfigurationError("one of --client-id and --client-secret is given, expected both or none")
    return Client(args.client_id, args.client_secret)


def _application(args: argparse.Namespace, url: str, client: Client | None) -> Application:
    from keyturn.serving.application import Application  # noqa: PLC0415 - loads the fake issuer
    from keyturn.serving.control import Control  # noqa: PLC0415
    from keyturn.serving.issuer import Settings  # noqa: PLC0415

    name = url if args.issuer is None else _issuer(args.issuer)
    audience = tuple(args.audience or ["api://test"])
    control = Control(Settings(name, audience if len(audience) > 1 else audience[0], args.algorithm, args.kid), lifetime=args.lifetime)
    return Application(control, names=_names(args), scheme=urlsplit(url).scheme, client=client)


def _names(args: argparse.Namespace) -> set[str]:
    """Return the host names that the user gave, in lower case."""
    own = [] if args.issuer is None else [urlsplit(_issuer(args.issuer)).hostname or ""]
    return {host.lower() for host in (*args.allow_host, *own)}


def _authority(args: argparse.Namespace) -> PrivateCa | None:
    """Return the CA of `--tls`, after a look at what stands at `--ca-out`."""
    from keyturn.testing.private_ca import NAMES, PrivateCa  # noqa: PLC0415 - loads the fake issuer

    if not args.tls:
        if args.ca_out is not None:
            raise ConfigurationError("--ca-out is given without --tls, expected both: without TLS there is no CA")
        return None
    if args.ca_out is not None:
        _check_certificate(Path(args.ca_out))
    try:
        return PrivateCa(sorted({*NAMES, "::1", args.host, *_names(args)}))
    except ValueError as error:
        raise ConfigurationError(
            f"no certificate can be made: {quoted(str(error))}, expected host names of letters, digits and hyphens "
            "(settings: --allow-host, --issuer, --host)"
        ) from None


def _check_certificate(path: Path) -> None:
    with _told_by_name(path):
        if path.exists() and not path.read_bytes().startswith(_CERTIFICATE):
            raise ConfigurationError(f"{quoted(str(path))} is there and is no certificate, expected a file to write to (setting: --ca-out)")


def _write_certificate(path: Path, pem: bytes) -> None:
    with _told_by_name(path):
        path.write_bytes(pem)


@contextlib.contextmanager
def _told_by_name(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{quoted(str(path))} cannot be written: {quoted(error.strerror or str(error))} (setting: --ca-out)") from None


def _issuer(text: str) -> str:
    """Return the name of the issuer, whose path must leave room for the page and the control API."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"https", "http"} and parts.hostname and parts.port != 0 and "@" not in parts.netloc and _PLAIN_URL.fullmatch(text)
    except ValueError:
        sound = False
    if not sound or parts.path == "/control" or parts.path.startswith(("/control/", "//")):
        raise ConfigurationError(
            f'issuer is {quoted(text)}, expected a URL such as "https://login.example.com", in ASCII, without user, query and fragment, and outside '
            "/control/ (setting: --issuer)"
        )
    return text


def _announce(args: argparse.Namespace, console: Console, server: Server, authority: PrivateCa | None) -> None:
    from keyturn.serving.server import is_loopback  # noqa: PLC0415 - loads the fake issuer

    if not is_loopback(args.host):
        console.note(
            f"warning: {args.host} is not the loopback of this machine. Whoever reaches port {server.server_port} can make tokens and keys, and end "
            "every fault; a service that trusts this issuer trusts all of them. Leave --host out to serve this machine alone."
        )
    issuer = server.application.control.issuer
    base = server.url + urlsplit(issuer.issuer).path.removesuffix("/")
    record = {
        "type": "serving",
        "issuer": issuer.issuer,
        "discovery_url": base + "/.well-known/openid-configuration",
        "jwks_url": base + "/jwks.json",
        "token_endpoint": base + "/token",
        "control_url": server.url + "/control/",
        "page_url": server.url + "/",
    }
    if args.json:
        console.json({**record, "ca_pem": None if authority is None else authority.pem.decode()})
    else:
        for label, name in _URLS:
            console.line(f"{label:<10} {record[name]}")
    console.note("For tests only: it hands a token to whoever asks. Ctrl-C ends it.")


def _teller(console: Console) -> Callable[[Request, str], None]:
    def told(request: Request, outcome: str) -> None:
        # The page asks for the state every other second, which would hide everything else.
        if console.verbose > 1 or request.path != "/control/state":
            # Whoever closed our standard error wants no lines, and answers all the same.
            with contextlib.suppress(OSError):
                console.detail(f"{quoted(request.method)[1:-1]} {quoted(request.path)[1:-1]}: {outcome}")

    return told


class _Terminated(BaseException):
    """SIGTERM came."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end what runs inside, where a signal can be caught at all: in the main thread."""

    def end(*_: object) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _host_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected a host name without scheme and port, got {quoted(text)}")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {_HIGHEST_PORT}, got {quoted(text)}")
    return int(text)


def _lifetime(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _LONGEST_LIFETIME:
        raise argparse.ArgumentTypeError(f"expected whole seconds from 1 to {_LONGEST_LIFETIME}, got {quoted(text)}")
    return int(text)
