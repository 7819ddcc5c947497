"""The orders API with FastAPI and PyJWT's `PyJWKClient`, all settings as they come.

1. One client for the process, and `get_signing_key_from_jwt()` before `jwt.decode()`, as PyJWT's page of usage examples shows it.
2. The client blocks, so the dependency is a plain function, which FastAPI runs on a thread.
3. PyJWT names the failure to reach the issuer (`PyJWKClientConnectionError`), so the service says 503 for it, and 401 for the rest.
4. Clear text needs no setting: `PyJWKClient` takes http and https alike.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import jwt
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

app = FastAPI()
jwks_client = jwt.PyJWKClient(os.environ["KEYTURN_DRILL_JWKS_URI"])


def caller(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> dict[str, Any]:
    """Return the claims of the request's token."""
    try:
        signing_key = jwks_client.get_signing_key_from_jwt(credentials.credentials)
        return jwt.decode(
            credentials.credentials,
            signing_key,
            algorithms=["RS256", "ES256"],
            audience=os.environ["KEYTURN_DRILL_AUDIENCE"],
            issuer=os.environ["KEYTURN_DRILL_ISSUER"],
        )
    except jwt.PyJWKClientConnectionError as error:
        raise HTTPException(503, "the signing keys cannot be read") from error
    except jwt.PyJWTError as error:
        raise HTTPException(401, "the token is not valid", {"WWW-Authenticate": "Bearer"}) from error


@app.get("/orders")
def orders(claims: Annotated[dict[str, Any], Depends(caller)]) -> dict[str, str | None]:
    """Answer with whom the token is for."""
    return {"for": claims.get("sub")}


if __name__ == "__main__":
    uvicorn.run(app, host=os.environ["KEYTURN_DRILL_HOST"], port=int(os.environ["KEYTURN_DRILL_PORT"]), log_level="warning")
