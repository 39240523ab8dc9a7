"""Whose a cluster is: a mark on the machine and one inside the cluster, both read before anything is changed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host.system import files, state
from stacks import names
from stacks.errors import HostError

if TYPE_CHECKING:
    from probes.kubernetes_api import KubernetesApi

CONFIG_MAP = f"{names.PART_OF}-owner"
"""The ConfigMap that marks a cluster from inside."""
_FOLDER = "~/.local/state/local-ai-lab/clusters"
_CHECKOUT = "owner"
_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Owner:
    """The stack that made a cluster. `project` is the folder of its checkout, `cluster` the driver's name for it."""

    stack: str
    project: str
    driver: str
    cluster: str

    def is_ours(self, ours: Owner) -> bool:
        """Whether this is the same owner as `ours`. A project folder that was moved or removed owns nothing, so that a
        moved checkout keeps its clusters.
        """
        same = (self.stack, self.driver, self.cluster) == (ours.stack, ours.driver, ours.cluster)
        moved = not (Path(self.project) / f"Pulumi.{self.stack}.yaml").exists()
        return same and (self.project == ours.project or moved)


@dataclass(frozen=True)
class Mark:
    """What the machine remembers of a cluster that a stack makes or made, written before anything is made.

    `complete`: the cluster was whole once, and has the mark inside it too. `identity`: by what the driver knows it
    again while it does not run, such as a container's id. `removing`: its removal has begun.
    """

    owner: Owner
    complete: bool = False
    identity: str = ""
    removing: bool = False


def this_stack(stack: str, driver: str, cluster: str) -> Owner:
    """The owner that a cluster made by this run has."""
    return Owner(stack, str(_PROJECT), driver, cluster)


def checkout(stack: str) -> str:
    """What marks this checkout's things in a cluster that others use too: sixteen hex digits of the machine, the user
    and the project's folder, or those that the stack was made with before the checkout was moved.
    """
    recorded = state.folder(stack) / _CHECKOUT
    if recorded.exists():
        return recorded.read_text(encoding="utf-8").strip()
    machine = Path("/etc/machine-id")
    known = machine.read_text(encoding="utf-8").strip() if machine.exists() else platform.node()
    return hashlib.sha256(f"{known} {os.getuid()} {_PROJECT} {stack}".encode()).hexdigest()[:16]


def keep_checkout(stack: str, owner: str) -> None:
    """Remembers it, for a checkout that is moved later."""
    recorded = state.folder(stack) / _CHECKOUT
    if not recorded.exists() or recorded.read_text(encoding="utf-8").strip() != owner:
        files.write_atomic(recorded, owner + "\n")


def mark_file(driver: str, cluster: str) -> Path:
    """Where a cluster's mark is on this machine: by driver and cluster, so that two stacks with one cluster meet
    here.
    """
    return Path(_FOLDER).expanduser() / f"{driver}-{cluster}.json"


def marked() -> set[str]:
    """The stacks that the marks of this user name. Raises HostError where one cannot be read."""
    marks = (read(path) for path in sorted(Path(_FOLDER).expanduser().glob("*.json")))
    return {mark.owner.stack for mark in marks if mark is not None}


def read(path: Path) -> Mark | None:
    """The mark at `path`, None where there is none. Raises HostError where it cannot be read."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Mark(
            Owner(**found["owner"]),
            complete=bool(found["complete"]),
            identity=str(found["identity"]),
            removing=bool(found.get("removing")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostError(
            f"the mark of ownership {path} cannot be read: {error}", remedy=f"if the cluster is yours: rm {path}"
        ) from None


def write(path: Path, mark: Mark, mode: int = 0o600) -> None:
    """Writes the mark in one step; an equal one is not written again."""
    text = json.dumps(asdict(mark), indent=1)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        files.write_atomic(path, text, mode)


def remove(path: Path) -> None:
    """The mark is gone afterwards. The last step of a removal."""
    path.unlink(missing_ok=True)


def read_inside(api: KubernetesApi, namespace: str = "kube-system") -> Owner | None:
    """The owner that the cluster itself names, None where nothing of ours is in it. Raises HostError where it does not
    answer.
    """
    answer = _request(api, "GET", f"{_collection(namespace)}/{CONFIG_MAP}")
    if answer is None:
        return None
    data = answer.get("data") or {}
    return Owner(**{name: str(data.get(name, "")) for name in ("stack", "project", "driver", "cluster")})


def mark_inside(api: KubernetesApi, ours: Owner, namespace: str = "kube-system") -> bool:
    """Marks the cluster as ours from inside; False where that is done already. Raises HostError where it is
    another's.
    """
    found = read_inside(api, namespace)
    if found is None:
        _request(api, "POST", _collection(namespace), _config_map(ours))
        return True
    require(found, ours)
    if found == ours:
        return False
    _request(api, "PUT", f"{_collection(namespace)}/{CONFIG_MAP}", _config_map(ours))  # the checkout was moved
    return True


def require(found: Owner, ours: Owner) -> None:
    """Raises HostError where `found` is another owner than `ours`."""
    if not found.is_ours(ours):
        raise HostError(
            f"the {ours.driver} cluster {ours.cluster} belongs to stack {found.stack} of {found.project}: "
            "nothing is changed in it",
            remedy=f"work there, or remove it there (./lab down {found.stack}), or give the cluster of stack "
            f"{ours.stack} another name in Pulumi.{ours.stack}.yaml",
        )


def _config_map(owner: Owner) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": names.PART_OF}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "labels": labels},
        "data": asdict(owner),
    }


def _collection(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def _request(api: KubernetesApi, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
    """The parsed answer, None where the object is not there."""
    import httpx  # noqa: PLC0415  (a tenth of a second that a look at files need not spend)

    try:
        answer = api.client.request(method, path, json=body)
        if answer.status_code == httpx.codes.NOT_FOUND and method == "GET":
            return None
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
    except httpx.HTTPStatusError as error:
        raise HostError(f"{method} {path}: {error.response.status_code} {error.response.text[:300]}") from None
    except (httpx.HTTPError, ValueError) as error:
        raise HostError(f"the cluster does not say whose it is ({method} {path}): {error}") from None
    return found
