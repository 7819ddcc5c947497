"""The orders API with FastAPI and keys that are read at start-up and then once in 24 hours.

The plan of refreshing is that of fastapi-azure-auth 5.3.0 (its modules `openid_config` and `auth`, and the start-up that its documentation
recommends), written down in our own few lines for an issuer that is not Entra:

1. Discovery document and key set are read in the lifespan; where that fails, the service does not start.
2. A request that finds them older than 24 hours reads both anew, once for all who wait. Where that fails, it is answered with 401.
3. A token is judged with the key of its kid among those that were read. A kid that is not among them is 401, and nothing is read for it.
4. The original takes RS256 alone; here ES256 is allowed too, so that the keys alone are compared.
5. Clear text needs no setting: httpx takes http and https alike.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import jwt
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

ISSUER = os.environ["KEYTURN_DRILL_ISSUER"]
DAY = 24 * 3600.0
CHALLENGE = {"WWW-Authenticate": "Bearer"}


class DailyKeys:
    """The keys of the issuer by their kid, a day old at most."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._read_at: float | None = None
        self.keys: dict[str, jwt.PyJWK] = {}

    async def load(self) -> None:
        """Read the keys unless those that are held are younger than a day."""
        if self._fresh():
            return
        async with self._lock:
            if not self._fresh():
                await self._read()
                self._read_at = time.monotonic()

    def _fresh(self) -> bool:
        return self._read_at is not None and time.monotonic() - self._read_at < DAY

    async def _read(self) -> None:
        async with httpx.AsyncClient(timeout=10) as http:
            configuration = (await http.get(f"{ISSUER}/.well-known/openid-configuration")).raise_for_status().json()
            published = (await http.get(configuration["jwks_uri"])).raise_for_status().json()["keys"]
        self.keys = {key["kid"]: jwt.PyJWK(key) for key in published if key.get("use") == "sig" and key.get("kid")}


daily = DailyKeys()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Read the keys before the first request."""
    await daily.load()
    yield


app = FastAPI(lifespan=lifespan)


async def caller(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> dict[str, Any]:
    """Return the claims of the request's token."""
    try:
        await daily.load()
    except Exception as error:
        raise HTTPException(401, "the configuration of the provider cannot be read", CHALLENGE) from error
    try:
        key = daily.keys.get(jwt.get_unverified_header(credentials.credentials).get("kid", ""))
        if key is None:
            raise HTTPException(401, "no signing key was found for the token", CHALLENGE)
        return jwt.decode(credentials.credentials, key, algorithms=["RS256", "ES256"], audience=os.environ["KEYTURN_DRILL_AUDIENCE"], issuer=ISSUER)
    except jwt.PyJWTError as error:
        raise HTTPException(401, "the token is not valid", CHALLENGE) from error


@app.get("/orders")
async def orders(claims: Annotated[dict[str, Any], Depends(caller)]) -> dict[str, str | None]:
    """Answer with whom the token is for."""
    return {"for": claims.get("sub")}


if __name__ == "__main__":
    uvicorn.run(app, host=os.environ["KEYTURN_DRILL_HOST"], port=int(os.environ["KEYTURN_DRILL_PORT"]), log_level="warning")
