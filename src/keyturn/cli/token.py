"""`keyturn token`: why a token passes or fails, step by step.

Rules of this file:

1. The verdict is the validator's own: one call of `TokenValidator.validate()`, whose error says at which step it stopped.
2. Neither the token nor its signature is ever written, and of a token that failed only kid, alg and typ, iss, aud and exp are,
   escaped and marked as unverified.
3. A token is read from standard input or a file, never from an argument.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyturn.cli.options import add_common_options, add_network_options, fetcher_of, policy_of
from keyturn.cli.output import Console
from keyturn.errors import ConfigurationError, InvalidTokenError, KeysUnavailableError, KeyturnError, quoted

if TYPE_CHECKING:
    from keyturn.cli.verdict import Verdict
    from keyturn.validator import TokenValidator

_DESCRIPTION = """\
Show step by step why a token of one issuer passes or fails: form, header, issuer, claims, key look-up, signature. The keys are asked
for as a service would ask for them, unless --keys gives them. The token is read from standard input or from --file, never from the
command line; neither it nor its signature is ever printed.
"""

_EPILOG = """\
exit codes: 0 the token is good; 1 it is bad; 2 usage; 3 nobody can know, since the issuer's keys could not be read

examples:
  keyturn token https://login.example.com --audience api://orders < token.txt
  keyturn token https://login.example.com --audience api://orders --keys jwks.json --file token.txt
"""

_LARGEST_FILE = 1_048_576
"""Bytes of input that are read: more than any token that a validator would look at."""

_MARKS = {"passed": ("ok", "green"), "failed": ("FAILED", "red"), "unknown": ("unknown", "yellow"), "not reached": ("-", "dim")}


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "token",
        help="show why a token passes or fails",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("issuer", metavar="ISSUER", help="the issuer that the token must come from, character by character")
    parser.add_argument("--audience", action="append", required=True, metavar="AUD", help="who the token must be for; may be given again")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--discovery-url", metavar="URL", help="where the discovery document is, if not where the issuer says")
    where.add_argument("--jwks-url", metavar="URL", help="where the key set is, if no discovery document is to be asked")
    where.add_argument(
        "--metadata-url", metavar="URL", help="where the federation metadata is, if the keys are published there (SAML, WS-Federation)"
    )
    where.add_argument("--keys", metavar="FILE", help="file with the key set; nothing is asked then")
    parser.add_argument("--algorithm", action="append", metavar="ALG", help="an allowed algorithm; may be given again (default: all asymmetric ones)")
    parser.add_argument("--token-type", choices=("access", "at+jwt", "id"), default="access", help="kind of token (default: access)")
    parser.add_argument("--leeway", type=float, default=60.0, metavar="S", help="seconds by which clocks may differ, at most 300 (default: 60)")
    parser.add_argument("--file", default="-", metavar="F", help="file that holds the token (default: -, standard input)")
    add_network_options(parser)
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Judge the token; return 0 if it is good, 1 if it is bad, 3 if nobody can know.

    Raises:
        ConfigurationError: An argument cannot be used.
        InvalidKeySetError: The file of `--keys` holds no usable key.
    """
    from keyturn.cli.verdict import failed_verdict, passed_verdict  # noqa: PLC0415 - loads what reads tokens

    console = Console.of(args)
    validator = _validator(args)
    token = _token(args, console)
    console.detail(f"judging a token of {len(token)} characters")
    try:
        verdict = passed_verdict(validator.validate(token), token, validator)
    except (InvalidTokenError, KeysUnavailableError) as error:
        verdict = failed_verdict(error, token, validator)
    _finish_events(validator)
    if args.json:
        console.json(verdict.record())
    else:
        _show(console, verdict)
    return verdict.exit_code


def _finish_events(validator: TokenValidator) -> None:
    """Let what `-v` shows be told before the process ends."""
    keeper = getattr(validator.client, "_keeper", None)
    if keeper is not None:
        keeper.deliver.finish(1.0)


def _validator(args: argparse.Namespace) -> TokenValidator:
    from keyturn._core.signatures import DEFAULT_ALGORITHMS  # noqa: PLC0415 - loaded only when the command runs
    from keyturn.client import KeySetClient  # noqa: PLC0415
    from keyturn.sources import KeySource, StaticKeySet  # noqa: PLC0415
    from keyturn.validator import TokenValidator  # noqa: PLC0415

    source: KeySource
    if args.keys is not None:
        source = StaticKeySet.from_file(args.keys)
    else:
        source = KeySetClient(
            args.issuer,
            discovery_url=args.discovery_url,
            jwks_url=args.jwks_url,
            metadata_url=args.metadata_url,
            policy=policy_of(args),
            fetcher=fetcher_of(args),
        )
    return TokenValidator(
        source,
        issuer=args.issuer,
        audience=args.audience,
        algorithms=args.algorithm or DEFAULT_ALGORITHMS,
        leeway=args.leeway,
        token_type=args.token_type,
    )


def _token(args: argparse.Namespace, console: Console) -> str:
    from keyturn.cli.reading import read_bounded  # noqa: PLC0415 - loads what reads documents

    if args.file == "-":
        if sys.stdin.isatty():
            console.note("paste the token, then press Ctrl-D on a line of its own")
        data = read_bounded(sys.stdin.buffer, _LARGEST_FILE)
    else:
        try:
            with Path(args.file).open("rb") as file:
                data = read_bounded(file, _LARGEST_FILE)
        except OSError as error:
            raise ConfigurationError(f"cannot read the token in {quoted(args.file)}: {error.strerror} (setting: --file)") from error
    if data is None:
        raise ConfigurationError(f"expected a token of at most {_LARGEST_FILE} bytes, got more (setting: --file)")
    # Bytes that no token has stay visible as such to the validator, which refuses them.
    token = data.decode("utf-8", "replace").strip()
    if not token:
        raise ConfigurationError("expected a token, got nothing (setting: --file)", hint="Send it to standard input, or name its file with --file.")
    return token


def _show(console: Console, verdict: Verdict) -> None:
    for step in verdict.steps:
        mark, style = _MARKS[step.outcome]
        # Why a step did not pass stands below the verdict, beside its hint.
        detail = step.detail if step.outcome == "passed" else ""
        console.line(f"{step.name:<12}{console.paint(mark.ljust(9 if detail else 0), style)}{detail}")
    console.line()
    error = verdict.error
    if error is None:
        console.line(console.paint("The token is good.", "green"))
    else:
        bad = isinstance(error, InvalidTokenError)
        console.line(console.paint("The token is bad." if bad else "Nobody can know whether the token is good.", "red" if bad else "yellow"))
        _show_error(console, error)
    width = max((len(name) for name in verdict.told), default=0)
    for name, text in verdict.told.items():
        console.line(f"  {name:<{width}}  {text}")


def _show_error(console: Console, error: KeyturnError) -> None:
    console.line(f"  why   {error.message} ({error.code}, {error.http_status})")
    if error.hint:
        console.line(f"  hint  {error.hint}")
    if error.retry_after is not None:
        console.line(f"  again in {error.retry_after} s")
