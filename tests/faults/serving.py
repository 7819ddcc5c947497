"""A service for the tests of web servers: an application whose validator is built where it is imported, and warmed there if told to.

It is told in the environment: `ISSUER`, and `WARM`, a token to validate on import, or `WARM_WORKERS`, one to validate in each worker of
uWSGI. Each answer is JSON: who answered, and the verdict.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Servers that fork do so whether there are threads or not.
warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*multi-threaded.*fork.*")

from keyturn import KeyturnError, RolloverPolicy, TokenValidator  # noqa: E402 - the filter comes first

validator = TokenValidator(os.environ["ISSUER"], audience="api://test", policy=RolloverPolicy(deadline=60.0))
if "WARM" in os.environ:
    validator.validate(os.environ["WARM"])
if "WARM_WORKERS" in os.environ:
    import uwsgi  # A module of the server itself.

    uwsgi.post_fork_hook = lambda: validator.validate(os.environ["WARM_WORKERS"])


def application(environ: Mapping[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer what becomes of the bearer token."""
    try:
        verdict = validator.validate(environ["HTTP_AUTHORIZATION"].removeprefix("Bearer ")).subject
    except KeyturnError as error:
        verdict = error.code
    answer = {"pid": os.getpid(), "verdict": verdict}
    start_response("200 OK", [("content-type", "application/json"), ("connection", "close")])
    return [json.dumps(answer).encode()]
