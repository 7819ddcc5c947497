"""Options that several commands share, and the fetcher that follows from them.

There is no switch against certificate checks: `--ca` names whom to trust, and `--http-host` permits clear text to one host.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from keyturn.cli.output import SCHEMA
from keyturn.errors import quoted

if TYPE_CHECKING:
    from keyturn._core.policy import RolloverPolicy
    from keyturn.fetching import HttpxFetcher

_TIMEOUTS = (0.05, 60.0)
"""Seconds that `--timeout` may say: those of a policy's deadline (R16)."""


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    parser.add_argument("--json", action="store_true", help=f'print JSON, one object per line, each with "schema": {SCHEMA}')
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing on standard error but errors")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more on standard error; -vv shows tracebacks, too")


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that ask an issuer."""
    parser.add_argument(
        "--timeout", type=seconds_option, default=10.0, metavar="S", help="seconds in which the issuer must have answered (default: 10)"
    )
    parser.add_argument(
        "--http-host", action="append", default=[], metavar="HOST", help="permit clear text to this host and nothing else; may be given again"
    )
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the CAs that alone are trusted")


def fetcher_of(args: argparse.Namespace) -> HttpxFetcher:
    """Return the fetcher that `--http-host` and `--ca` ask for.

    Raises:
        ConfigurationError: One of them cannot be used.
    """
    from keyturn.fetching import HttpxFetcher  # noqa: PLC0415 - loaded only when a command runs

    return HttpxFetcher(http_hosts=args.http_host, ca=args.ca)


def policy_of(args: argparse.Namespace) -> RolloverPolicy:
    """Return the policy whose deadline is `--timeout`."""
    from keyturn._core.policy import RolloverPolicy  # noqa: PLC0415 - loaded only when a command runs

    return RolloverPolicy(deadline=args.timeout)


def seconds_option(text: str) -> float:
    """Return what `--timeout` says, in seconds, for argparse."""
    low, high = _TIMEOUTS
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not low <= seconds <= high:
        raise argparse.ArgumentTypeError(f"expected seconds from {low:g} to {high:g}, got {quoted(text)}")
    return seconds
