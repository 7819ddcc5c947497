"""Print the table of rollover decisions by asking the rules themselves; run as a script, write it into its page.

Every row is one state of an issuer's keys, every column one way to ask. Numbers are those of the default policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from keyturn import KeySet, RolloverPolicy
from keyturn._core.rollover import Decision, Fetch, Join, LookUp, Refuse, background_refresh, decide_held, decide_missing, decide_vanished
from keyturn._core.state import Attempt, KeySetState
from keyturn.clock import Instant

PAGE = Path(__file__).parent.parent / "docs/explanation/decisions.md"
BEGIN, END = "<!-- decisions -->\n", "<!-- end of decisions -->"

HOUR = 3600.0
POLICY = RolloverPolicy()
LINE = 23 * HOUR
NOW = Instant(1_000_000.0, 1_800_000_000.0)
SPENT_AGO, LOOKED_UP_AGO, FAILED_AGO, PAUSE = 100.0, 60.0, 4.0, 10.0

NOTHING = "nothing"

COLUMNS = (
    "the keys",
    "last refresh",
    "key held",
    "key not held, allowance there",
    "key not held, allowance spent 100 s ago",
    "kid looked up in vain 60 s ago",
    "100 callers wait already",
    "vanished key used",
    "nobody asks",
)


def ago(seconds: float) -> Instant:
    """Return the instant *seconds* before now."""
    return NOW.shifted(-seconds)


def keys(age: float | None, *, tried: bool = False) -> KeySetState:
    """Return a state whose last good answer is *age* seconds old; *tried* says that a refresh was made since the line."""
    state = KeySetState("https://login.example.com", POLICY.refresh_interval, LINE)
    if age is None:
        return state
    asked_at = ago(age)
    attempted_at = ago(HOUR) if tried else asked_at
    return replace(state, current=KeySet(), asked_at=asked_at, attempted_at=attempted_at, attempts=1)


AGES = (
    ("none", keys(None), True),
    ("1 h old", keys(HOUR), True),
    ("past the line, 23 h 30 min old", keys(23.5 * HOUR), True),
    ("past due, 25 h old, nobody tried", keys(25 * HOUR), False),
    ("past due, 25 h old, tried an hour ago", keys(25 * HOUR, tried=True), True),
    ("too old, 48 h", keys(48 * HOUR, tried=True), True),
)


def states() -> Iterator[tuple[str, str, KeySetState]]:
    """Yield every state of the table with its two names."""
    for name, state, may_have_failed in AGES:
        attempt = Attempt(2, "schedule", ago(1.0), None, while_overdue=state.untried(NOW), demanded_before=None)
        if not (name.endswith("tried an hour ago") or name.startswith("too old")):
            # Who tried in vain has failed, and a set gets too old only while refreshes fail or nobody asks.
            yield name, "went well" if state.asked_at else "never made", state
        if name.startswith("too old"):
            yield name, "never tried since", replace(state, attempted_at=state.asked_at)
        yield name, "is running", replace(state, attempt=attempt)
        if may_have_failed:
            failed = replace(state, failures=1, failed_at=ago(FAILED_AGO), pause=PAUSE)
            yield name, "failed, 6 s of the pause left", failed
            yield name, "failed, the pause is over", replace(failed, pause=FAILED_AGO)


def answers(state: KeySetState) -> Iterator[str]:
    """Yield what each way to ask leads to."""
    spent = replace(state, demanded_at=ago(SPENT_AGO))
    in_vain = LookUp(times=1, asked_at=ago(LOOKED_UP_AGO))
    later = replace(state, demanded_at=ago(POLICY.on_demand_interval))
    yield told(decide_held(state, POLICY, NOW))
    yield told(decide_missing(state, POLICY, NOW, look_up=None, waiting=0))
    yield told(decide_missing(spent, POLICY, NOW, look_up=None, waiting=0))
    yield told(decide_missing(later, POLICY, NOW, look_up=in_vain, waiting=0))
    yield told(decide_missing(state, POLICY, NOW, look_up=None, waiting=POLICY.max_waiting))
    vanished = decide_vanished(state, POLICY, NOW, None) if state.usable(POLICY, NOW) else None
    yield f"`{vanished}` in the background" if vanished else NOTHING
    due = background_refresh(state, POLICY, NOW)
    yield f"`{due}` is due" if due else NOTHING


def told(decision: Decision) -> str:
    """Return a decision in words."""
    if isinstance(decision, Join):
        return "waits for the one that runs"
    if isinstance(decision, Fetch):
        return f"`{decision.reason}`, and waits"
    if isinstance(decision, Refuse):
        status = 503 if decision.code == "keys_unavailable" else 401
        owed = "; a refresh is owed" if decision.owes else ""
        return f"{status}, again in {decision.retry_after:g} s{owed}" + _beside(decision.refresh)
    return "served" + _beside(decision.refresh)


def _beside(refresh: str | None) -> str:
    return f"; `{refresh}` in the background" if refresh else ""


def table() -> str:
    """Return the whole table in Markdown."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *((name, refresh, *answers(state)) for name, refresh, state in states())]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    written = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n{table()}\n{END}", page, flags=re.DOTALL)
    PAGE.write_text(written, encoding="utf-8")
    print(f"wrote {PAGE.name}")
