"""Small programs applied by the embedded engine, in a folder, on a fake API server."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import Event, Program, Result, SecretsManager, StackConfig, down, up

PROJECT, STACK = "shop", "test"
PASSPHRASE = "correct horse"
# Made once: the key takes a quarter of a second.
SECRETS = SecretsManager(PASSPHRASE)

HEAD = """
import pulumi, pulumi_kubernetes as k8s
from pulumi import ResourceOptions as Opts
from pulumi_command import local
config = pulumi.Config()
"""
CLUSTER = (
    HEAD
    + """
boot = local.Command("boot", create="echo create >> boot.log", update="echo update >> boot.log", delete="echo delete >> boot.log",
                     environment={"G": config.get("generation") or "0"})
cluster = k8s.Provider("cluster", kubeconfig="kubeconfig", cluster_identifier="one", enable_secret_mutable=True,
                       enable_config_map_mutable=config.get("immutable") is None, opts=Opts(depends_on=[boot]))
def opts(*needs, **more):
    return Opts(provider=cluster, depends_on=list(needs), deleted_with=None if config.get("alone") else boot, **more)
labels = {"app.kubernetes.io/managed-by": "pulumi"}
"""
)


@dataclass
class World:
    """A folder with a program and its state; `events` are those of the last run."""

    folder: Path
    text: str = ""
    events: list[Event] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state" / "stack.json"

    def up(self, text: str = "", *, config: Mapping[str, str] | None = None, embedded: bool = True, **keys: Any) -> Result:
        self.text = text or self.text
        (self.folder / "__main__.py").write_text(textwrap.dedent(self.text))
        values = {f"{PROJECT}:{key}": value for key, value in (config or {}).items()}
        secret = frozenset(key for key in values if "secret" in key)
        self.events.clear()
        program = Program(PROJECT, STACK, self.folder, self.folder / "__main__.py")
        return up(program, StackConfig(values, secret), self.state, secrets=SECRETS, embedded=embedded, on_event=self.events.append, **keys)

    def down(self, *, embedded: bool = True) -> Result:
        self.events.clear()
        return down(self.state, self.folder, secrets=SECRETS, embedded=embedded, on_event=self.events.append)

    def log(self, name: str = "boot.log") -> list[str]:
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state.read_text())["deployment"]
        return found

    def recorded(self) -> dict[str, dict[str, Any]]:
        return {item["urn"].split("::")[3]: item for item in self.deployment().get("resources") or []}

    def told(self, kind: str) -> list[tuple[str, str]]:
        return [(event.name, event.text) for event in self.events if event.kind == kind]


def errors(result: Result) -> str:
    return "\n".join(item.message for item in result.diagnostics if item.severity == "error")
