"""What the machine itself remembers of a stack, outside Pulumi's state."""

from __future__ import annotations

import json
from pathlib import Path

from host.system import files
from stacks import names
from stacks.errors import HostError

_CLUSTER = "cluster.json"
_PROJECT = "project"


def folder(stack: str) -> Path:
    """The folder of one stack's host state on this machine; it may not exist."""
    return Path(names.state_folder(stack)).expanduser()


def epoch(stack: str) -> int:
    """How often the stack's cluster had to be brought back by us; 0 on a machine that never had it.

    Raises HostError where the record cannot be read.
    """
    path = folder(stack) / _CLUSTER
    if not path.exists():
        return 0
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["epoch"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostError(f"{path} cannot be read: {error}", remedy=f"if it is damaged: rm {path}") from error


def record(stack: str, epoch: int, cluster_uid: str) -> None:
    """Remembers which cluster the stack has; an empty UID says that it has none any more. Unchanged content is not
    written again.
    """
    text = json.dumps({"epoch": epoch, "clusterUid": cluster_uid})
    path = folder(stack) / _CLUSTER
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        files.write_atomic(path, text)


def claim(stack: str, project: Path) -> None:
    """Notes that the stack of this machine is made from the project folder `project`. Raises HostError where another
    checkout made it.
    """
    check_owner(stack, project)
    path, text = folder(stack) / _PROJECT, f"{project.resolve()}\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        files.write_atomic(path, text)


def check_owner(stack: str, project: Path) -> None:
    """Raises HostError where the stack of this machine was made from another project folder that still has its file.
    A folder that was moved or removed owns nothing.
    """
    path = folder(stack) / _PROJECT
    if not path.exists():
        return
    owner = Path(path.read_text(encoding="utf-8").strip())
    if owner != project.resolve() and (owner / f"Pulumi.{stack}.yaml").exists():
        raise HostError(
            f"stack {stack} of this machine was made from {owner}",
            remedy=f"work there, or give the stack here another name: git mv Pulumi.{stack}.yaml Pulumi.NAME.yaml",
        )
