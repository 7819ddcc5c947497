"""The orders API with FastAPI and keyturn.

Clear text on loopback needs no setting: `TokenValidator` permits it for a configured issuer (R16).
"""

from __future__ import annotations

import os
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from keyturn import KeyturnError, TokenValidator, ValidatedToken

app = FastAPI()
validator = TokenValidator(os.environ["KEYTURN_DRILL_ISSUER"], audience=os.environ["KEYTURN_DRILL_AUDIENCE"])
CHALLENGES = {401: 'Bearer error="invalid_token"', 403: 'Bearer error="insufficient_scope"'}


async def caller(request: Request) -> ValidatedToken:
    """Return the validated token of the request."""
    scheme, _, token_text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise HTTPException(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
    return await validator.validate_async(token_text.strip())


@app.exception_handler(KeyturnError)
async def refuse(_request: Request, error: KeyturnError) -> JSONResponse:
    """Answer with the error's own status: 401 for a bad token, 503 where the keys cannot be had."""
    headers = {"Cache-Control": "no-store"}
    if error.http_status in CHALLENGES:
        headers["WWW-Authenticate"] = CHALLENGES[error.http_status]
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse({"error": error.code}, error.http_status, headers)


@app.get("/orders")
async def orders(token: Annotated[ValidatedToken, Depends(caller)]) -> dict[str, str | None]:
    """Answer with whom the token is for."""
    return {"for": token.subject}


if __name__ == "__main__":
    uvicorn.run(app, host=os.environ["KEYTURN_DRILL_HOST"], port=int(os.environ["KEYTURN_DRILL_PORT"]), log_level="warning")
