"""A fake issuer as a service: `keyturn serve`, for programs in other languages, for front ends, and for people with a browser.

Rules of this package:

1. Its keys are made at the start and end with the process. It hands a token to whoever asks, so it is for tests and never for production.
2. Documents and tokens are for every origin, because front ends read them from theirs. The control API is for its own page and for
   programs, never for the page of another site (`guard.py`).
3. Faults meet the documents alone: whoever took the issuer down can always bring it back.
4. What a caller can make grow is bounded: bodies, heads, keys, remembered requests and steps, requests that a fault holds, connections.
5. A request is answered by `application.py` without a socket; `server.py` alone opens one.
"""

from __future__ import annotations
