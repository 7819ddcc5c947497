"""The sample services, how each is started, and the versions of what it is made of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
NODE_FOLDER = HERE / "node_jose"


@dataclass(frozen=True)
class Sample:
    """One service.

    Attributes:
        name: Its folder.
        title: Its column in the table.
        file: What is run.
        packages: The distributions whose versions matter.
    """

    name: str
    title: str
    file: str = "app.py"
    packages: Sequence[str] = ()

    @property
    def on_node(self) -> bool:
        """Whether it runs under Node, and not under this interpreter."""
        return self.file.endswith(".mjs")

    @property
    def missing(self) -> str | None:
        """What is not installed here, in words, or None."""
        if not self.on_node:
            return None
        if shutil.which("node") is None:
            return "node is not on PATH"
        if not (NODE_FOLDER / "node_modules" / "jose").is_dir():
            return "jose is not installed: run `npm ci --ignore-scripts` in examples/drill/node_jose"
        return None

    @property
    def command(self) -> list[str]:
        """What starts it."""
        interpreter = shutil.which("node") if self.on_node else sys.executable
        return [str(interpreter), str(HERE / self.name / self.file)]

    @property
    def versions(self) -> str:
        """What it is made of, such as `PyJWT 2.15.1, FastAPI 0.165.0`."""
        return ", ".join(self._node_versions() if self.on_node else [f"{_SPELT.get(name, name)} {metadata.version(name)}" for name in self.packages])

    def _node_versions(self) -> list[str]:
        node = subprocess.run([self.command[0], "--version"], capture_output=True, text=True, check=True).stdout.strip().removeprefix("v")
        found = [json.loads((NODE_FOLDER / "node_modules" / name / "package.json").read_text(encoding="utf-8"))["version"] for name in self.packages]
        return [*(f"{name} {version}" for name, version in zip(self.packages, found, strict=True)), f"Node {node}"]


_SPELT = {"fastapi": "FastAPI", "pyjwt": "PyJWT"}

SAMPLES = (
    Sample("keyturn_fastapi", "keyturn", packages=("keyturn", "fastapi")),
    Sample("pyjwkclient", "PyJWKClient", packages=("pyjwt", "fastapi")),
    Sample("daily_refresh", "daily refresh", packages=("pyjwt", "httpx", "fastapi")),
    Sample("node_jose", "Node jose", file="server.mjs", packages=("jose",)),
)
