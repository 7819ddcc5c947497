"""`keyturn simulate`: histories of keys replayed under rollover policies, side by side, in virtual time."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyturn.cli.options import add_common_options
from keyturn.cli.output import Console, table
from keyturn.errors import ConfigurationError, quoted

if TYPE_CHECKING:
    from keyturn._core.policy import RolloverPolicy
    from keyturn.simulation.figures import Figures
    from keyturn.simulation.history import History
    from keyturn.simulation.report import Result, Setting
    from keyturn.simulation.timeline import Panel

_MADE_UP = "synthetic:"
_STEPS = (1.0, 3_600.0)
_MOST_PHASES = 10_000

_DESCRIPTION = """\
Replay the history of an issuer's keys under one policy or several, and compare what they cost: good tokens that were refused or could
not be judged, how long a removed key was trusted, and how often the issuer was asked. The rules themselves are run, on a clock that
jumps; no machine is asked for anything. A history is a JSON file (its format is described under "Key histories" in the reference), every
*.json of a folder, or a made-up one, synthetic:NAME.

Every key is in constant use from its first publication to its last; if a history says which key signs when, only tokens of that key are
in use, for their lifetime. Each policy is replayed with several phases of its schedule; figures are averages, with least and most.
"""

_EPILOG = """\
exit codes: 0 every good token was accepted; 1 one was refused, or could not be judged; 2 usage; 3 the run could not be finished

examples:
  keyturn simulate history.json
  keyturn simulate synthetic:flapping-replicas --policy default --policy entra --policy strict
  keyturn simulate histories/ --policy refresh_interval=3600,removed_key_grace=21600 --json
  keyturn simulate history.json --policy default --policy strict --svg timeline.svg
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "simulate",
        help="replay a history of keys under several policies",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("places", nargs="*", metavar="HISTORY|DIR|synthetic:NAME", help="what to replay")
    parser.add_argument(
        "--policy",
        action="append",
        metavar="P",
        help="default, strict, entra, settings (refresh_interval=3600,removed_key_grace=0), or a name and settings; may be given again",
    )
    parser.add_argument("--svg", metavar="FILE", help="draw the first phase of each policy as a timeline; takes one history")
    parser.add_argument("--step", type=_step, default=60.0, metavar="S", help="seconds between two tokens of one key (default: 60)")
    parser.add_argument("--phases", type=_phases, default=5, metavar="N", help="replays with schedules of their own (default: 5)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of phases, jitter and made-up histories (default: 1)")
    parser.add_argument("--list", action="store_true", help="list the made-up histories and the named policies, and replay nothing")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay and compare; return 0 if every good token was accepted, else 1.

    Raises:
        ConfigurationError: An argument cannot be used, or a file is no history.
    """
    from keyturn.simulation.policies import policy_named  # noqa: PLC0415 - loaded only when the command runs
    from keyturn.simulation.report import Setting  # noqa: PLC0415

    console = Console.of(args)
    if args.list:
        _list(console, as_json=args.json)
        return 0
    policies = {name: policy_named(name) for name in args.policy or ["default"]}
    histories = list(_histories(args.places, args.seed))
    if args.svg is not None and len(histories) != 1:
        raise ConfigurationError(f"--svg draws one history, got {len(histories)} (setting: --svg)", hint="Name one file instead of a folder.")
    setting = Setting(args.step, args.phases, args.seed)
    served_all = True
    for history in histories:
        job = _Job(console, history, setting, None if args.svg is None else [])
        results = [job.replayed(name, policy) for name, policy in policies.items()]
        served_all = served_all and all(result.served_all for result in results)
        _show(console, results, setting, as_json=args.json)
        if job.panels is not None:
            _draw(console, args.svg, history, job.panels)
    return 0 if served_all else 1


def _histories(places: list[str], seed: int) -> Iterator[History]:
    from keyturn.simulation.history import read_history  # noqa: PLC0415 - loaded only when the command runs
    from keyturn.simulation.synthetic import synthetic_history  # noqa: PLC0415

    if not places:
        raise ConfigurationError(
            "expected a history, a folder or synthetic:NAME, got none", hint="`keyturn simulate --list` names the made-up histories."
        )
    for place in places:
        if place.startswith(_MADE_UP):
            yield synthetic_history(place.removeprefix(_MADE_UP), seed)
        else:
            for path in _files(Path(place)):
                yield read_history(path)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.json"))
    if not found:
        raise ConfigurationError(f"the folder {quoted(str(path))} holds no *.json, expected key histories")
    return found


@dataclass(frozen=True)
class _Job:
    """One history, and how it is replayed; panels are collected where a picture is asked for."""

    console: Console
    history: History
    setting: Setting
    panels: list[Panel] | None

    def replayed(self, name: str, policy: RolloverPolicy) -> Result:
        """Replay the history under one policy, in every phase."""
        from keyturn.simulation.figures import spreads  # noqa: PLC0415 - loaded only when the command runs
        from keyturn.simulation.report import Result  # noqa: PLC0415

        return Result(self.history, name, policy, spreads([self._figures(name, policy, phase) for phase in range(self.setting.phases)]))

    def _figures(self, name: str, policy: RolloverPolicy, phase: int) -> Figures:
        from keyturn.simulation.figures import figures_of, replay_of  # noqa: PLC0415 - loaded only when the command runs
        from keyturn.simulation.timeline import Panel  # noqa: PLC0415

        setting = self.setting
        self.console.progress(f"  {quoted(self.history.name)}, {quoted(name)}: phase {phase + 1} of {setting.phases}")
        replay = replay_of(self.history, policy, step=setting.step, seed=setting.seed, phase=phase)
        if self.panels is None or phase:
            return figures_of(replay, self.history)
        panel = Panel(name, setting.step)
        self.panels.append(panel)
        figures = figures_of(replay, self.history, panel.add)
        panel.finish(replay.fetches)
        return figures


def _show(console: Console, results: list[Result], setting: Setting, *, as_json: bool) -> None:
    from keyturn.simulation.report import HEAD, record, row, title  # noqa: PLC0415 - loaded only when the command runs

    if as_json:
        for result in results:
            console.json(record(result, setting))
        return
    console.line(console.paint(title(results[0].history), "bold"))
    head, *lines = table(HEAD, [row(result) for result in results])
    console.line(f"  {head}")
    for line, result in zip(lines, results, strict=True):
        console.line(f"  {line if result.served_all else console.paint(line, 'yellow')}")


def _draw(console: Console, file: str, history: History, panels: list[Panel]) -> None:
    from keyturn.simulation.timeline import svg  # noqa: PLC0415 - loaded only when the command runs

    try:
        Path(file).write_text(svg(history, panels), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write the file {quoted(file)}: {error.strerror} (setting: --svg)") from error
    console.note(f"drew {quoted(file)}")


def _list(console: Console, *, as_json: bool) -> None:
    from keyturn.simulation.policies import NAMED  # noqa: PLC0415 - loaded only when the command runs
    from keyturn.simulation.synthetic import SYNTHETIC  # noqa: PLC0415

    rows = [("history", f"{_MADE_UP}{name}", each.summary) for name, each in SYNTHETIC.items()]
    rows += [("policy", name, named.summary) for name, named in NAMED.items()]
    if as_json:
        for kind, name, summary in rows:
            console.json({"type": kind, "name": name, "summary": summary})
        return
    head, *lines = table(("KIND", "NAME", "WHAT IT IS"), rows)
    console.line(console.paint(head, "bold"))
    for line in lines:
        console.line(line)


def _step(text: str) -> float:
    try:
        step = float(text)
    except ValueError:
        step = math.nan
    if not _STEPS[0] <= step <= _STEPS[1]:
        raise argparse.ArgumentTypeError(f"expected seconds from {_STEPS[0]:g} to {_STEPS[1]:g}, got {quoted(text)}")
    return step


def _phases(text: str) -> int:
    try:
        phases = int(text)
    except ValueError:
        phases = 0
    if not 1 <= phases <= _MOST_PHASES:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {_MOST_PHASES}, got {quoted(text)}")
    return phases
