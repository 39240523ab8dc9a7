"""One context of the user's kubeconfig as a kubeconfig of the stack's own, or every reason why it cannot be carried."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from host.drivers import kubeconfig
from host.drivers.existing.refusal import Refusal
from probes.exec_credential import VERSIONS
from stacks.errors import HostError

_CLUSTER: Final = {
    "server", "certificate-authority", "certificate-authority-data", "tls-server-name", "proxy-url",
    "disable-compression", "extensions", "insecure-skip-tls-verify",
}  # fmt: skip
_USER: Final = {
    "client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile", "exec",
    "extensions",
}  # fmt: skip
_REASONS: Final = {
    "auth-provider": "auth-provider is gone from Kubernetes' clients since v1.26: use the provider's exec plugin",
    "username": "no API server takes a username and password since Kubernetes v1.19",
    "password": "no API server takes a username and password since Kubernetes v1.19",
    "as": "impersonation is not carried along: write a context that is the user itself",
}
"""Fields of a user that this copy leaves out by no silent choice: kubernetes.io, kubeconfig (v1)."""


def carried(source: Path, context: str, *, name: str, stack: str) -> tuple[str, list[Refusal]]:
    """The text of the copy, whose one context is called `name`, and what stands in the way of it. Text and reasons are
    never both there.
    """
    again = f"then: ./lab up {stack}"
    try:
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
        contexts = {str(entry["name"]): entry["context"] for entry in document.get("contexts") or ()}
    except FileNotFoundError:
        return "", [Refusal(f"there is no kubeconfig at {source}", f"write cluster.kubeconfig; {again}")]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        return "", [
            Refusal(f"the kubeconfig {source} cannot be read: {error}", f"kubectl config view shows it; {again}")
        ]
    if context not in contexts:
        there = ", ".join(sorted(contexts)) or "none"
        why = f"{source} has no context {context}; it has: {there}"
        return "", [Refusal(why, f"write one of them as cluster.context; {again}")]
    try:
        text = kubeconfig.single(source, name=name, context=context)
    except HostError as error:
        return "", [Refusal(error.message, f"kubectl --context {context} config view --minify shows it; {again}")]
    copy = yaml.safe_load(text)
    cluster, user = copy["clusters"][0]["cluster"], copy["users"][0]["user"]
    reasons = [*_cluster(cluster), *_user(user, source.parent)]
    if reasons:
        return "", [Refusal(f"context {context}: {reason}", again.removeprefix("then: ")) for reason in reasons]
    return yaml.safe_dump(copy, sort_keys=False), []


def _cluster(cluster: Mapping[str, Any]) -> list[str]:
    reasons = [f"its cluster has {field}, which is not carried along" for field in sorted(set(cluster) - _CLUSTER)]
    if not str(cluster.get("server", "")).startswith("https://"):
        reasons.append(f"its server {cluster.get('server')} is not https: credentials would be readable on the way")
    if cluster.get("insecure-skip-tls-verify"):
        reasons.append("insecure-skip-tls-verify trusts whoever answers: write certificate-authority instead")
    return reasons


def _user(user: dict[str, Any], folder: Path) -> list[str]:
    """What cannot be carried; paths are made absolute in place."""
    left = sorted(set(user) - _USER)
    reasons = [_REASONS.get(field, "" if field.startswith("as-") else f"its user has {field}, which is not known here")
               for field in left]  # fmt: skip
    reasons = [reason for reason in dict.fromkeys(reasons) if reason]
    if "tokenFile" in user:
        user["tokenFile"] = str((folder / str(user["tokenFile"])).resolve())
        if not Path(user["tokenFile"]).exists():
            reasons.append(f"its tokenFile {user['tokenFile']} is not there")
    plugin = user.get("exec")
    if not isinstance(plugin, dict):
        return reasons
    if plugin.get("apiVersion") not in VERSIONS:
        reasons.append(
            f"its credential plugin speaks {plugin.get('apiVersion')}, and clients know {', '.join(VERSIONS)}"
        )
    if plugin.get("interactiveMode") == "Always":
        reasons.append("its credential plugin asks at the terminal (interactiveMode: Always), and Pulumi has none")
    program = str(plugin.get("command", ""))
    found = str((folder / program).resolve()) if "/" in program else shutil.which(program)
    if found is None or not Path(found).exists():
        hint = str(plugin.get("installHint") or "install it").strip().splitlines()[0]
        reasons.append(f"its credential plugin {program} is not on this machine: {hint}")
    plugin["command"] = found
    return reasons
