"""What is refused before anything is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from engine import kinds, urns
from engine.apply.cluster import ApiError, AwayError, Cluster
from engine.apply.handlers import is_object
from engine.apply.interrupt import Interrupt
from engine.apply.kubeconfig import read_access, text_of
from engine.errors import EngineError, RefusedError
from engine.handover import is_handed_over
from engine.model import Step

_GLANCE: Final = 1.0  # seconds: a cluster that is down is the bootstrap's affair


def require_own_state(state: Path) -> None:
    """Raises RefusedError for a state that the Pulumi CLI goes on with."""
    if state.exists() and is_handed_over(json.loads(state.read_text(encoding="utf-8"))):
        raise RefusedError(
            f"{state} was handed over to the Pulumi CLI, which goes on with this stack",
            remedy=f"use pulumi up and pulumi destroy; when it is destroyed, this takes the stack back: rm {state}",
        )


def require_applicable(types: Iterable[str], *, embedded: bool) -> None:
    """Raises RefusedError where only the CLI may apply one of these resource types."""
    wanted = sorted(name for name in set(types) if not urns.is_provider(name))
    for name in wanted:
        if kinds.find(name).applied_by_cli_only:
            raise RefusedError(f"the embedded engine previews {name}, but does not apply it")
    if not embedded and any(is_object(name) for name in wanted):
        raise RefusedError("the embedded engine works on the lab's embedded cluster and on Commands; this stack has another cluster")


def require_mark(providers: Iterable[Mapping[str, Any]], interrupt: Interrupt, folder: Path) -> None:
    """Raises RefusedError where a provider's cluster is up and is not ours; one that is not there yet is looked at when it is used."""
    for options in providers:
        try:
            access = read_access(text_of(str(options.get("kubeconfig") or ""), folder), str(options.get("context") or ""))
        except EngineError:
            continue
        cluster = Cluster(access, interrupt, patience=_GLANCE)
        try:
            cluster.require_mark()
        except (ApiError, AwayError):  # what is there now may be the one before: the bootstrap will see to it
            continue
        finally:
            cluster.close()


def providers_of(steps: Iterable[Step]) -> list[Mapping[str, Any]]:
    """The inputs of the Kubernetes providers among the steps."""
    return [step.inputs for step in steps if step.type == f"{urns.PROVIDER_PREFIX}kubernetes"]
