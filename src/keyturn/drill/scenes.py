"""How a scenario gets its known state: a service that is started anew for it, or one that runs on and is waited for.

Rules of this file:

1. Started anew: issuer, keys and process are the scenario's own, and end with it.
2. Running on: one issuer for the whole drill. Before a scenario only the key that the service accepts is published. Then the pause lets
   the service's own limits on refreshes run out, if the scenario needs a refresh.
3. A scenario whose known state cannot be reached is not played, and says why.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from keyturn.drill.scenarios import BASELINE, Scenario
from keyturn.drill.settings import Settings
from keyturn.drill.stage import DrillIssuer, Stage, pause
from keyturn.drill.starting import NotStartedError, StartedService, free_port
from keyturn.drill.target import Target
from keyturn.errors import ConfigurationError
from keyturn.testing.server import IssuerServer

Tell = Callable[[str], None]
"""Takes a line of progress."""

_GOING_ON = 30.0


@dataclass
class Scene:
    """A stage that is ready to be played on, or the reason why it is not.

    Attributes:
        stage: The stage.
        trouble: Why the known state was not reached, or an empty string.
        output: The last lines that the service wrote, if it did not start.
        reachable: Whether the service answered at all.
        ended: Returns the exit code of a started service that ended, else None.
    """

    stage: Stage
    trouble: str = ""
    output: tuple[str, ...] = ()
    reachable: bool = True
    ended: Callable[[], int | None] = lambda: None


class Scenes(Protocol):
    """Makes scenes."""

    def scene(self, scenario: Scenario, tell: Tell) -> AbstractContextManager[Scene]:
        """Return the scene of one scenario; its issuer and its service last as long as the context."""
        ...


def new_kids() -> Iterator[str]:
    """Yield kids that no other drill used."""
    name = secrets.token_hex(3)
    number = 0
    while True:
        number += 1
        yield f"drill-{name}-{number}"


@contextmanager
def scenes_of(settings: Settings) -> Iterator[Scenes]:
    """Make the scenes that *settings* ask for, as long as the context lasts.

    Raises:
        ConfigurationError: The issuer's port is not free.
    """
    if settings.start:
        yield StartedAnew(settings)
        return
    issuer = _issuer_of(settings, kids := new_kids())
    with _served(issuer, settings), _target_of(settings, settings.url) as target:
        yield RunningOn(settings, issuer, target, kids)


class StartedAnew:
    """Scenes whose service is started for each of them (1)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextmanager
    def scene(self, scenario: Scenario, tell: Tell) -> Iterator[Scene]:
        """Serve an issuer, start the service, wait until it accepts the key that signs.

        Raises:
            ConfigurationError: A port is not free, or the command cannot be run.
        """
        settings, kids = self._settings, new_kids()
        issuer = _issuer_of(settings, kids)
        with _served(issuer, settings) as server:
            port = free_port(settings.place)
            place = settings.place
            host = place.hostname or ""
            url = place._replace(netloc=f"{f'[{host}]' if ':' in host else host}:{port}").geturl()
            values = {
                "issuer": issuer.issuer,
                "jwks_uri": server.jwks_url,
                "audience": settings.audience,
                "host": host,
                "port": str(port),
            }
            with _target_of(settings, url) as target:
                stage = Stage(issuer, target, kids, issuer.signing_kid, watch=settings.watch, tell=tell)
                if scenario.prepare is not None:
                    scenario.prepare(stage)
                tell("the service is started")
                with StartedService(settings.start, values) as service:
                    yield self._ready(stage, service, target, scenario)

    def _ready(self, stage: Stage, service: StartedService, target: Target, scenario: Scenario) -> Scene:
        try:
            service.wait_until_ready(target, self._settings.ready_timeout)
        except NotStartedError as error:
            while_published = " while the issuer published this set" if scenario.prepare is not None else ""
            return Scene(stage, error.message + while_published, error.output, reachable=False)
        scene = Scene(stage, ended=lambda: service.ended_with)
        if scenario.name != BASELINE:
            scene.trouble = _warmed(stage)
        stage.begin()
        return scene


class RunningOn:
    """Scenes whose service runs on from one to the next (2)."""

    def __init__(self, settings: Settings, issuer: DrillIssuer, target: Target, kids: Iterator[str]) -> None:
        self._settings, self._issuer, self._target, self._kids = settings, issuer, target, kids
        self._base = issuer.signing_kid

    @contextmanager
    def scene(self, scenario: Scenario, tell: Tell) -> Iterator[Scene]:
        """Bring issuer and service to the known state; wait out the pause if the scenario needs a refresh."""
        yield self._first(tell) if scenario.name == BASELINE else self._next(scenario, tell)

    def _first(self, tell: Tell) -> Scene:
        stage = self._stage(tell)
        answer = stage.ask_once(self._base)
        if answer.status is None:
            return Scene(stage, f"the service gives no answer ({answer.why})", reachable=False)
        if answer.outcome != "accepted" and stage.warm().outcome != "accepted":
            # It may have looked for keys a moment ago, and not be allowed to look again yet.
            self._wait(tell)
        stage.begin()
        return Scene(stage)

    def _next(self, scenario: Scenario, tell: Tell) -> Scene:
        answer = self._target.ask(self._issuer.token())
        if answer.status is None:
            return Scene(self._stage(tell), f"the service gives no answer ({answer.why})")
        self._restore(accepted=answer.outcome == "accepted")
        stage = self._stage(tell)
        if scenario.prepare is not None:
            scenario.prepare(stage)
        if scenario.refresh:
            self._wait(tell)
        reads = self._issuer.fetches.jwks
        trouble = _warmed(stage)
        if not trouble and scenario.refresh and scenario.prepare is None and self._issuer.fetches.jwks > reads:
            # Reaching the known state took the refresh that the scenario needs.
            self._wait(tell)
        stage.begin()
        return Scene(stage, trouble)

    def _restore(self, *, accepted: bool) -> None:
        """Publish nothing but the key that the service accepts: the one that signs now if that was *accepted*, or else the one before."""
        issuer = self._issuer
        if accepted:
            self._base = issuer.signing_kid
        if self._base not in issuer.published_kids:
            issuer.restore(self._base)
        issuer.promote(self._base)
        issuer.drop_entries()
        for kid in issuer.published_kids:
            if kid != self._base:
                issuer.retire(kid)

    def _stage(self, tell: Tell) -> Stage:
        return Stage(self._issuer, self._target, self._kids, self._base, watch=self._settings.watch, tell=tell)

    def _wait(self, tell: Tell) -> None:
        left = self._settings.pause
        while left > 0:
            tell(f"waiting until the service may read keys again: {left:.0f} s")
            pause(min(left, _GOING_ON))
            left -= _GOING_ON


def _warmed(stage: Stage) -> str:
    answer = stage.warm()
    return "" if answer.outcome == "accepted" else f"the service does not accept the key that signs (last answer: {answer.told})"


def _issuer_of(settings: Settings, kids: Iterator[str]) -> DrillIssuer:
    return DrillIssuer(audience=settings.audience, algorithm=settings.algorithm, kid=next(kids), claims=settings.claims)


def _target_of(settings: Settings, url: str) -> Target:
    return Target(url, method=settings.method, accept=settings.accept, timeout=settings.timeout, ca=settings.ca)


@contextmanager
def _served(issuer: DrillIssuer, settings: Settings) -> Iterator[IssuerServer]:
    serving = issuer.serve(settings.port_of_issuer)
    try:
        server = serving.__enter__()
    except OSError as error:
        raise ConfigurationError(
            f"port in use: cannot listen on 127.0.0.1:{settings.port_of_issuer} for the drill's issuer: {error.strerror} (setting: --issuer-port)",
            hint="Give another port, and tell the service about it.",
        ) from error
    try:
        yield server
    finally:
        serving.__exit__(None, None, None)
