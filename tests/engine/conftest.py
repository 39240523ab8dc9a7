"""Small Pulumi programs written to a folder and previewed by the embedded engine."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import Preview, Program, StackConfig, Step, preview

PROJECT, STACK = "shop", "test"
STACK_URN = f"urn:pulumi:{STACK}::{PROJECT}::pulumi:pulumi:Stack::{PROJECT}-{STACK}"
COMMAND_PROVIDER = f"urn:pulumi:{STACK}::{PROJECT}::pulumi:providers:command::default_1_2_1"
KUBE_PROVIDER = f"urn:pulumi:{STACK}::{PROJECT}::pulumi:providers:kubernetes::cluster"
IDS = {COMMAND_PROVIDER: "11111111-aaaa", KUBE_PROVIDER: "22222222-bbbb"}

Run = Callable[..., Preview]


def urn(types: str, name: str) -> str:
    return f"urn:pulumi:{STACK}::{PROJECT}::{types}::{name}"


def by_name(result: Preview) -> dict[str, Step]:
    return {step.name: step for step in result.steps}


def messages(result: Preview) -> str:
    return "\n".join(item.message for item in result.diagnostics)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Previews a program text; `resources` is a recorded state, `files` are modules beside the program."""

    def _run(
        text: str,
        *,
        config: Mapping[str, str] | None = None,
        secret_keys: frozenset[str] = frozenset(),
        resources: list[dict[str, Any]] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> Preview:
        for name, content in {"__main__.py": text, **(files or {})}.items():
            (tmp_path / name).write_text(textwrap.dedent(content))
        state = None
        if resources is not None:
            state = tmp_path / "state.json"
            state.write_text(json.dumps({"version": 3, "deployment": {"resources": resources}}))
        program = Program(PROJECT, STACK, tmp_path, tmp_path / "__main__.py")
        return preview(program, StackConfig(config or {}, secret_keys), state)

    return _run


def recorded(types: str, name: str, **keys: Any) -> dict[str, Any]:
    """A resource as a state file holds it; inputs are the outputs too unless said otherwise."""
    kind = types.rpartition("$")[2]
    package = kind.split(":", 1)[0]
    custom = {"custom": True, "id": f"{name}-id", "outputs": keys.get("inputs", {})}
    if package in ("command", "kubernetes"):
        provider = COMMAND_PROVIDER if package == "command" else KUBE_PROVIDER
        custom["provider"] = f"{provider}::{IDS[provider]}"
    return {"urn": urn(types, name), "type": kind, "parent": STACK_URN, **custom, **keys}


def base_state(*, cluster: bool = False) -> list[dict[str, Any]]:
    """The stack, the default provider of Commands and, where asked for, an explicit Kubernetes provider."""
    options = {"kubeconfig": "/none", "clusterIdentifier": "one", "version": "4.34.2"}
    stack = {"urn": STACK_URN, "custom": False, "type": "pulumi:pulumi:Stack"}
    commands = recorded("pulumi:providers:command", "default_1_2_1", inputs={"__internal": {}, "version": "1.2.1"})
    objects = recorded("pulumi:providers:kubernetes", "cluster", inputs={"__internal": {}, **options})
    state = [stack, {**commands, "id": IDS[COMMAND_PROVIDER]}, {**objects, "id": IDS[KUBE_PROVIDER]}]
    return state if cluster else state[:2]
