"""What the tests of the simulation share: small histories whose results can be worked out by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from keyturn.simulation.history import History, parse_history

START = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


def moment(hours: float) -> str:
    """Return the instant *hours* after the start, as a history writes it."""
    return datetime.fromtimestamp(START + hours * HOUR, UTC).isoformat()


def document(*sets: tuple[float, str], **members: Any) -> dict[str, Any]:
    """Return a history in which each set, one letter for each key id, is seen at its hour; other members as given."""
    return {"observations": [{"time": moment(hours), "kids": list(kids)} for hours, kids in sets], **members}


def history(*sets: tuple[float, str], **members: Any) -> History:
    """Return the same, read."""
    return parse_history(json.dumps(document(*sets, **members)).encode(), "test")
