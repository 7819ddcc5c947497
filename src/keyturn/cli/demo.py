"""`keyturn demo`: an issuer's rollovers, outages and attackers over days of virtual time, and what a service makes of them.

The issuer is served on loopback and asked over HTTP as any other; only the time is made up. The account at the end is computed from
what happened, and the exit code says whether the three promises held.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keyturn.cli.options import add_common_options
from keyturn.cli.output import Console, table

if TYPE_CHECKING:
    from keyturn.cli.account import Account
    from keyturn.cli.stage import Stage, Step

_DESCRIPTION = """\
Play an issuer's life over some days of virtual time, in a few seconds: keys are published, promoted, reordered, cut over without
overlap, vanish and return; the issuer goes down for hours and for days; a key is stolen and revoked; somebody floods the service with
invented key ids; somebody forges. A service with keyturn's defaults validates every token over real HTTP on this machine. No other
machine is asked for anything.

One line per step tells the virtual time, how many tokens were accepted (200), refused (401) and could not be judged (503), and how often
the key set was fetched. The account at the end compares all of it with what the rules promise.
"""

_EPILOG = """\
exit codes: 0 every promise was kept in this run; 1 one was broken; 2 usage; 3 the run could not be finished

examples:
  keyturn demo
  keyturn demo --json --seed 7
"""

_HEAD = f"{'TIME':<9}{'200':>6}{'401':>6}{'503':>6}{'FETCHES':>9}  WHAT HAPPENED"


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "demo",
        help="play rollovers, outages and attacks against a fake issuer",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="seed of orders and invented key ids (default: 1); the jitter of refreshes is drawn anew in each run",
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play the story; return 0 if every promise was kept, else 1."""
    from keyturn.cli.stage import served_stage  # noqa: PLC0415 - loads the fake issuer

    console = Console.of(args)
    with served_stage(seed=args.seed, progress=lambda sent: console.progress(f"  {sent:,} tokens in this step")) as stage:
        return play(stage, console, as_json=args.json)


def play(stage: Stage, console: Console, *, as_json: bool) -> int:
    """Play the story on *stage* and tell it; return 0 if every promise was kept, else 1."""
    from keyturn.cli.account import account_of  # noqa: PLC0415 - loads the fake issuer
    from keyturn.cli.story import story  # noqa: PLC0415

    if not as_json:
        console.line(console.paint(_HEAD, "bold"))
    for step in story(stage):
        if as_json:
            console.json(_step_record(step))
        else:
            console.line(_step_line(step))
    account = account_of(stage)
    if as_json:
        console.json(account.record())
    else:
        _show(console, account)
    return 0 if account.kept else 1


def _step_line(step: Step) -> str:
    tally = step.tally
    return f"{step.time:<9}{tally.accepted:>6,}{tally.refused:>6,}{tally.unavailable:>6,}{step.fetches:>9,}  {step.what}"


def _step_record(step: Step) -> dict[str, Any]:
    tally = step.tally
    return {
        "type": "step",
        "time": step.time,
        "virtual_seconds": step.at,
        "what": step.what,
        "accepted": tally.accepted,
        "refused": tally.refused,
        "unavailable": tally.unavailable,
        "fetches": step.fetches,
    }


def _show(console: Console, account: Account) -> None:
    console.line()
    console.line(f"{account.sent:,} tokens were judged; {account.outcomes['accepted']:,} were accepted. The others, and why:")
    rows = [(f"{count:,}", "401" if outcome == "refused" else "503", code, why) for (outcome, code, why), count in account.refused]
    _indented(console, table(("TOKENS", "ANSWER", "CODE", "WHAT THEY WERE"), rows, right=(0,)))
    console.line()
    console.line("What was asked of the issuer:")
    kinds = [(kind.kind, f"{kind.made:,}", f"{kind.allowed:,}", kind.rule) for kind in account.refreshes]
    _indented(console, table(("REFRESHES", "MADE", "ALLOWED", "RULE"), kinds, right=(1, 2)))
    for number, promise in enumerate(account.promises, 1):
        console.line()
        verdict = console.paint("kept", "green") if promise.kept else console.paint("BROKEN", "red")
        console.line(f"{number}. {console.paint(promise.promise, 'bold')} {verdict}")
        _indented(console, promise.evidence)


def _indented(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.line(f"   {line}")
