"""Plans with a gateway that Envoy Gateway makes: one of each form that its objects can have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stacks.plan import Plan
from tests.support.stacks import STACKS, configuration, plan, roomy

STACK = next(s for s in STACKS if configuration(s).get("gateway", {}).get("kind") == "aibrix")
"""The stack file that has one."""


def told(**settings: Any) -> Callable[[dict[str, Any]], None]:
    """An edit: the gateway with these settings more."""

    def edit(config: dict[str, Any]) -> None:
        config["gateway"] = {"kind": "aibrix", **settings}

    return edit


def two_models(config: dict[str, Any]) -> None:
    """An edit: a second model, in clear text, on minikube."""
    roomy(config)
    config["cluster"] = {"driver": "minikube"}
    config["models"].append({**config["models"][0], "name": "second", "port": 30081})
    config["gateway"] = {"kind": "aibrix", "tls": "off", "routing": "least-request"}


def reranker(config: dict[str, Any]) -> None:
    """An edit: a model that orders documents beside the other."""
    roomy(config)
    config["models"].append({"name": "order", "model": "qwen3-reranker-0.6b", "contextTokens": 8192, "port": 30081})


EMBEDDED = next(s for s in STACKS if configuration(s)["cluster"]["driver"] == "embedded")


def on_embedded(config: dict[str, Any]) -> None:
    """An edit: two models and an alias of both, without AIBrix, on the embedded cluster; a cookie keeps sessions."""
    config["machine"] |= {"memoryGiB": 64, "cpus": 16}
    first = config["models"][0]
    config["models"].append({**first, "name": "second", "port": 30081})
    config["gateway"] = {
        "kind": "envoy-gateway",
        "aliases": [{"name": "chat", "models": [{"model": first["name"], "weight": 9}, {"model": "second"}]}],
        "affinity": {"by": "cookie", "name": "lab-session"},
    }


def without_aibrix(config: dict[str, Any]) -> None:
    """An edit: Envoy Gateway alone, by Helm, with sessions by a header."""
    config["gateway"] = {"kind": "envoy-gateway", "affinity": {"by": "header", "name": "x-session-id"}}


VARIANTS: Mapping[str, Callable[[dict[str, Any]], None] | None] = {
    STACK: None,
    "0.5": told(version="0.5"),
    "two models, no TLS, minikube": two_models,
    "a reranker": reranker,
    "Envoy Gateway alone": without_aibrix,
    "embedded": on_embedded,
}
WITH_AIBRIX = [name for name in VARIANTS if name not in ("Envoy Gateway alone", "embedded")]


def variant(name: str) -> Plan:
    """The plan of one of them."""
    return plan(EMBEDDED if name == "embedded" else STACK, VARIANTS[name])
