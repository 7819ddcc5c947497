"""The drill: scripted rollovers played against any running HTTP service, and a report of which tokens it accepted.

Rules of this package:

1. The service is a black box. It is asked over HTTP with bearer tokens; what counts is the status that it answers with.
2. Every scenario starts from a known state: the service accepts the key that signs. What cannot be brought there is not judged.
3. What was seen is recorded first (`observations.py`) and judged afterwards by pure functions (`verdict.py`).
4. A time is measured or said to be longer than what was watched, never guessed.
5. A service that accepts everything, or nothing, proves nothing, and the report says so.
"""

from __future__ import annotations
