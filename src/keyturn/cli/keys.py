"""`keyturn keys`: every key that an issuer publishes, and why one of them cannot be used."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from keyturn.cli.options import add_common_options, add_network_options, fetcher_of, policy_of
from keyturn.cli.output import Console, day, table
from keyturn.clock import SystemClock
from keyturn.errors import KeysUnavailableError, quoted

if TYPE_CHECKING:
    from keyturn._core.jwk import CertificateDates, SigningKey
    from keyturn._core.key_set import SkippedKey
    from keyturn.cli.reading import Found

_HEAD = ("KID", "KEY", "ALG", "USE", "THUMBPRINT", "X5T", "CERTIFICATE", "USABLE")

_HINT = "Check the address and the network; --ca names whom to trust, --http-host permits clear text to one host, --timeout gives more time."

_DESCRIPTION = """\
List every key of a key set: kid, type and size or curve, alg, use, RFC 7638 thumbprint, x5t, dates of the certificate, and whether
keyturn can use it. What an entry does not say is shown as "-". Dates of a certificate are shown and decide nothing.

A URL is asked as it is given. If its answer has "keys" it is the key set, and federation metadata (SAML, WS-Federation) holds its keys as
certificates; otherwise the URL is an issuer, or its discovery document, and the key set that it names is listed. An existing path is a
file, and - is standard input.
"""

_EPILOG = """\
exit codes: 0 at least one key is usable; 1 none is; 2 usage; 3 no key set could be read

examples:
  keyturn keys https://login.example.com
  keyturn keys --json jwks.json
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "keys",
        help="list the keys of an issuer or a key set",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("place", metavar="ISSUER|URL|FILE|-", help="where the keys are")
    add_network_options(parser)
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List the keys; return 0 if at least one is usable, else 1.

    Raises:
        ConfigurationError: An argument cannot be used.
        KeysUnavailableError: No key set could be read.
    """
    from keyturn.cli.reading import read_key_set  # noqa: PLC0415 - loads what reads documents

    console = Console.of(args)
    console.detail(f"asking {quoted(args.place)}, for at most {args.timeout:g} s")
    try:
        found = read_key_set(args.place, fetcher_of(args), policy_of(args))
    except KeysUnavailableError as error:
        if error.hint == KeysUnavailableError.hint:
            # That hint is for a service that holds a token; here there is none.
            error.hint = _HINT
        raise
    if args.json:
        console.json(_record(found))
    else:
        _show(console, found)
    console.note(f"{len(found.keys)} usable, {len(found.skipped)} not, in {quoted(found.location)}")
    return 0 if found.keys else 1


def _show(console: Console, found: Found) -> None:
    now = SystemClock().wall()
    rows = [_usable_row(key, now) for key in found.keys] + [_skipped_row(entry) for entry in found.skipped]
    head, *lines = table(_HEAD, rows)
    console.line(console.paint(head, "bold"))
    for number, line in enumerate(lines):
        console.line(line if number < len(found.keys) else console.paint(line, "yellow"))


def _usable_row(key: SigningKey, now: float) -> tuple[str, ...]:
    shape = f"{key.kty} {key.curve or key.size}"
    usable = "; ".join(["yes", *([f"for {quoted(key.issuer)} alone"] if key.issuer else []), *key.remarks])
    return _kid(key.kid), shape, key.alg or "-", key.use or "-", key.thumbprint, key.x5t or "-", _dates(key.certificate, now), usable


def _skipped_row(entry: SkippedKey) -> tuple[str, ...]:
    return _kid(entry.kid or None), "-", "-", "-", "-", "-", "-", f"no: {entry.reason}"


def _kid(kid: str | None) -> str:
    return "-" if kid is None else quoted(kid)


def _dates(dates: CertificateDates | None, now: float) -> str:
    if dates is None:
        return "-"
    state = ", expired" if now >= dates.not_after else ", not yet valid" if now < dates.not_before else ""
    return f"{day(dates.not_before)} to {day(dates.not_after)}{state}"


def _record(found: Found) -> dict[str, Any]:
    return {
        "location": found.location,
        "issuer": found.issuer,
        "keys": [_usable_record(key) for key in found.keys],
        "skipped": [{"kid": entry.kid or None, "reason": entry.reason} for entry in found.skipped],
    }


def _usable_record(key: SigningKey) -> dict[str, Any]:
    dates = key.certificate
    return {
        "kid": key.kid,
        "kty": key.kty,
        "curve": key.curve,
        "size": key.size,
        "alg": key.alg,
        "algorithms": sorted(key.algorithms),
        "use": key.use,
        "thumbprint": key.thumbprint,
        "x5t": key.x5t,
        "x5t#S256": key.x5t_s256,
        "certificate": dates and {"not_before": dates.not_before, "not_after": dates.not_after},
        "issuer": key.issuer,
        "remarks": list(key.remarks),
    }
