"""`keyturn drill`: scripted rollovers against any running service, and a report of which tokens it accepted."""

from __future__ import annotations

import argparse
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyturn.cli.options import add_common_options, seconds_option
from keyturn.cli.output import Console, table
from keyturn.errors import ConfigurationError, quoted

if TYPE_CHECKING:
    from keyturn.drill.results import DrillResult, Result
    from keyturn.drill.scenarios import Scenario
    from keyturn.drill.settings import Settings

_DESCRIPTION = """\
Play rollovers of signing keys against a running HTTP service, in any language, and report which tokens it accepted: planned and
unannounced rollovers, a cut-over, odd key sets, an issuer that is down, slow or busy, a flood of made-up keys, a removed key, and a
catalogue of bad tokens. URL is an endpoint that wants a bearer token; the service trusts the drill's issuer, which runs on this machine.

With --start COMMAND the drill starts the service anew for each scenario, with KEYTURN_DRILL_ISSUER, KEYTURN_DRILL_JWKS_URI,
KEYTURN_DRILL_AUDIENCE, KEYTURN_DRILL_HOST and KEYTURN_DRILL_PORT in its environment; {issuer}, {jwks_uri}, {audience} and {port} in the
command are replaced. Without it, configure the running service for issuer http://127.0.0.1:8779 and the audience; the drill then waits
--pause seconds before each scenario for which the service has to read keys again.
"""

_EPILOG = """\
exit codes: 0 every scenario passed; 1 one failed; 2 usage; 3 nobody can know: not reached, not started, or the service accepts everything
or nothing, so that the drill proves nothing

examples:
  keyturn drill http://127.0.0.1:0/orders --start "python app.py"
  keyturn drill http://127.0.0.1:8000/orders --audience api://orders --html report.html
  keyturn drill --list
"""

_STYLES = {"pass": "green", "note": "yellow", "unknown": "yellow", "fail": "red"}
_INDENT = " " * 4


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "drill",
        help="play rollovers against a running service",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="protected endpoint; port 0 means a free one for each --start")
    parser.add_argument("--start", metavar="COMMAND", help="what starts the service; split into words, no shell")
    parser.add_argument("--issuer-port", type=int, default=0, metavar="N", help="port of the drill's issuer (default: free; 8779 without --start)")
    parser.add_argument("--audience", default="api://drill", metavar="AUD", help="audience of the tokens (default: api://drill)")
    parser.add_argument("--claim", action="append", default=[], metavar="NAME=VALUE", help="a claim of every token; may be given again")
    parser.add_argument("--algorithm", default="RS256", metavar="ALG", help="algorithm of the keys (default: RS256)")
    parser.add_argument("--method", default="GET", metavar="M", help="HTTP method of the requests (default: GET)")
    parser.add_argument("--accept", default="200-299", metavar="LIST", help="statuses that mean accepted (default: 200-299)")
    parser.add_argument("--watch", type=_number, default=60.0, metavar="S", help="seconds for which times are watched at most (default: 60)")
    parser.add_argument(
        "--pause", type=_number, default=310.0, metavar="S", help="seconds before a scenario that needs a refresh, without --start (default: 310)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="play this scenario and the baseline; may be given again")
    parser.add_argument("--list", action="store_true", help="list the scenarios, and play none")
    parser.add_argument("--name", default="", metavar="TEXT", help="what reports call the service")
    parser.add_argument("--html", metavar="FILE", help="write a report for browsers")
    parser.add_argument("--ready-timeout", type=_number, default=30.0, metavar="S", help="seconds in which a started service answers (default: 30)")
    parser.add_argument("--timeout", type=seconds_option, default=10.0, metavar="S", help="seconds in which an answer begins (default: 10)")
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the CAs that alone are trusted, if URL is https")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play the scenarios; return 0 if all passed, 1 if one failed, 3 if nobody can know.

    Raises:
        ConfigurationError: An argument cannot be used, or a port is not free.
    """
    from keyturn.drill.engine import estimated, run_drill  # noqa: PLC0415 - loads the fake issuer
    from keyturn.drill.scenarios import chosen  # noqa: PLC0415

    console = Console.of(args)
    if args.list:
        _list(console, as_json=args.json)
        return 0
    scenarios, settings, html = chosen(args.only), _settings(args), _html_file(args.html)
    _announce(console, scenarios, settings, estimated(scenarios, settings))
    with _ended_by_signals():
        drill = run_drill(settings, scenarios, _Listener(console, len(scenarios), as_json=args.json), args.name)
    _show(console, drill, as_json=args.json)
    if html is not None:
        _write(console, html, drill)
    return drill.exit_code


def _settings(args: argparse.Namespace) -> Settings:
    from keyturn.drill.settings import Settings, parse_accept, parse_claim, split_command  # noqa: PLC0415 - loads the fake issuer

    if args.url is None:
        raise ConfigurationError("expected the URL of a protected endpoint, got none", hint="For example http://127.0.0.1:8000/orders.")
    return Settings(
        url=args.url,
        start=() if args.start is None else split_command(args.start),
        issuer_port=args.issuer_port,
        audience=args.audience,
        method=args.method.upper(),
        algorithm=args.algorithm,
        claims=dict(parse_claim(text) for text in args.claim),
        accept=parse_accept(args.accept),
        watch=args.watch,
        pause=args.pause,
        ready_timeout=args.ready_timeout,
        timeout=args.timeout,
        ca=args.ca,
    )


def _html_file(name: str | None) -> Path | None:
    """Return where the report goes; a place that cannot be written to is told before the drill, not after it."""
    if name is None:
        return None
    path = Path(name)
    try:
        there = path.exists()
        if not there or path.is_file() or path.is_dir():
            # Tried, not looked up: rights, mounts and the length of a name all count.
            path.open("ab").close()
        if not there:
            path.unlink()
    except OSError as error:
        raise ConfigurationError(f"cannot write the file {quoted(name)}: {error.strerror} (setting: --html)") from error
    return path


def _announce(console: Console, scenarios: tuple[Scenario, ...], settings: Settings, estimate: Any) -> None:
    from keyturn.drill.report import duration  # noqa: PLC0415 - loaded only when the command runs

    least, most = duration(estimate.least), duration(estimate.most)
    time = f"{least} at least" + (f", {most} at most" if most != least else "")
    console.note(f"drilling {quoted(settings.url)}: {len(scenarios)} scenarios, {time}")
    if not settings.start:
        console.note(f"the service must trust issuer http://127.0.0.1:{settings.port_of_issuer}, audience {quoted(settings.audience)}")
        if estimate.pauses and settings.pause:
            console.note(f"{estimate.pauses} scenarios wait {settings.pause:g} s each, so that the service may read keys again; --start saves that")


class _Listener:
    """Writes how a drill goes: progress as words, results as data."""

    def __init__(self, console: Console, total: int, *, as_json: bool) -> None:
        self._console, self._total, self._as_json = console, total, as_json
        self._now = ""

    def begins(self, number: int, scenario: Scenario) -> None:
        """Say which scenario is played."""
        self._now = f"[{number}/{self._total}] {scenario.name}"
        if self._console.live:
            self._console.progress(self._now)
        else:
            self._console.note(self._now)

    def happens(self, what: str) -> None:
        """Say what happens in it, on a terminal or if asked to."""
        if self._console.live:
            self._console.progress(f"{self._now}: {what}")
        else:
            self._console.detail(f"{self._now}: {what}")

    def ends(self, result: Result) -> None:
        """Write what it came to, unless everything is written as JSON at the end."""
        if self._as_json:
            self._console.clear()
            return
        from keyturn.drill.report import WORDS, requests_told, scenario_lines  # noqa: PLC0415 - loaded only when the command runs

        level, console = result.verdict.level, self._console
        mark = console.paint(WORDS[level].ljust(10), _STYLES[level])
        console.line(f"{mark}  {console.paint(result.scenario.name, 'bold')}  ({requests_told(result)}, {result.seconds:.0f} s)")
        for line in scenario_lines(result):
            console.line(_INDENT + line)


def _show(console: Console, drill: DrillResult, *, as_json: bool) -> None:
    from keyturn.drill.report import record, total  # noqa: PLC0415 - loaded only when the command runs

    if as_json:
        console.json(record(drill))
        return
    console.line()
    console.line(total(drill))
    style = {"passed": "green", "findings": "red"}.get(drill.conclusion, "yellow")
    console.line(console.paint(f"{drill.conclusion}: {drill.why}", style))
    if drill.conclusion == "proves nothing":
        console.note("hint: the endpoint must want a bearer token, and the service must trust the drill's issuer, keys and audience.")


def _write(console: Console, path: Path, drill: DrillResult) -> None:
    from keyturn.drill.html_report import page  # noqa: PLC0415 - loaded only when it is asked for

    try:
        path.write_text(page(drill), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write the file {quoted(str(path))}: {error.strerror} (setting: --html)") from error
    console.note(f"wrote {quoted(str(path))}")


def _list(console: Console, *, as_json: bool) -> None:
    from keyturn.drill.report import scenario_record  # noqa: PLC0415 - loaded only when the command runs
    from keyturn.drill.scenarios import SCENARIOS  # noqa: PLC0415

    if as_json:
        for scenario in SCENARIOS:
            console.json({"type": "scenario", **scenario_record(scenario)})
        return
    head, *lines = table(("NAME", "PROMISE", "WHAT IT PLAYS"), [(each.name, each.promise, each.plays) for each in SCENARIOS])
    console.line(console.paint(head, "bold"))
    for line in lines:
        console.line(line)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a terminal that was closed, end the drill as Ctrl-C does, so that no service is left over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP.
    numbers = [getattr(signal, name) for name in names]
    # Whoever started the drill with nohup wants it to go on.
    earlier = {number: signal.signal(number, _interrupt) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _number(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"expected seconds, got {quoted(text)}")
    return seconds
