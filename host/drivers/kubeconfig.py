"""The stack's own kubeconfig, made from the one that the cluster's installer wrote: one context, no other file
needed.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from host.system import files
from stacks.errors import HostError

_EMBEDDED = {
    "clusters": ("certificate-authority",),
    "users": ("client-certificate", "client-key"),
}


def single(source: Path, *, name: str, context: str | None = None, server: str | None = None) -> str:
    """The kubeconfig at `source` reduced to one context, which is called `name` as its cluster and user are.

    `context` is the one to take (default: the current one), `server` the address to write in place of the source's.
    Certificates that are files become part of the text. Raises HostError where the source cannot be used.
    """
    try:
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
        chosen = _named(document, "contexts", context or document["current-context"])["context"]
        cluster = _whole(document, "clusters", chosen["cluster"], source.parent)
        user = _whole(document, "users", chosen["user"], source.parent)
        if server:
            cluster["server"] = server
        cluster["server"]
    except (OSError, yaml.YAMLError) as error:
        raise HostError(f"the kubeconfig {source} cannot be used: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise HostError(f"the kubeconfig {source} cannot be used: {error!r}") from None
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        sort_keys=False,
    )


def write(path: Path, text: str) -> bool:
    """Writes the kubeconfig for its owner's eyes only (0600), in one step; False where it stood there already."""
    if path.exists() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == 0o600:
        return False
    files.write_atomic(path, text, 0o600)
    return True


def _whole(document: Mapping[str, Any], kind: str, name: str, folder: Path) -> dict[str, Any]:
    """One cluster or user with its files read in; the extensions of tools are left out."""
    found: dict[str, Any] = dict(_named(document, kind, name)[kind.removesuffix("s")])
    found.pop("extensions", None)
    for field in _EMBEDDED[kind]:
        if (path := found.pop(field, None)) and f"{field}-data" not in found:
            found[f"{field}-data"] = base64.b64encode((folder / path).read_bytes()).decode()
    return found


def _named(document: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    for entry in document.get(kind) or ():
        if entry["name"] == name:
            found: Mapping[str, Any] = entry
            return found
    raise KeyError(f"no {name} among its {kind}")
