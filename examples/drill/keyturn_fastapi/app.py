"""The orders API with FastAPI and keyturn.

Clear text on loopback needs no setting: `TokenValidator` permits it for a configured issuer (R16).
"""

from __future__ import annotations

import os
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI

from keyturn import TokenValidator, ValidatedToken
from keyturn.integrations.fastapi import Bearer

app = FastAPI()
bearer = Bearer(TokenValidator(os.environ["KEYTURN_DRILL_ISSUER"], audience=os.environ["KEYTURN_DRILL_AUDIENCE"]))


@app.get("/orders")
async def orders(token: Annotated[ValidatedToken, Depends(bearer)]) -> dict[str, str | None]:
    """Answer with whom the token is for."""
    return {"for": token.subject}


if __name__ == "__main__":
    uvicorn.run(app, host=os.environ["KEYTURN_DRILL_HOST"], port=int(os.environ["KEYTURN_DRILL_PORT"]), log_level="warning")
