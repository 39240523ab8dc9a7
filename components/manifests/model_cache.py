"""The model cache as Kubernetes sees it: a folder of the node behind a local PersistentVolume, so that pods need no
hostPath.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacks import names
from stacks.planning.plan import ModelCachePlan

_LABELS = names.common_labels("model-cache")


def storage_class() -> dict[str, Any]:
    """A class that provisions nothing and keeps everything."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": names.STORAGE_CLASS, "labels": _LABELS},
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def persistent_volume(cache: ModelCachePlan, node: str) -> dict[str, Any]:
    """The folder on `node`; claimRef keeps every other claim away from it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{names.PART_OF}-{cache.name}", "labels": _LABELS},
        "spec": {
            "capacity": {"storage": f"{cache.capacity_gib}Gi"},
            "accessModes": ["ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": names.STORAGE_CLASS,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": names.MODELS_NAMESPACE,
                "name": cache.name,
            },
            "local": {"path": str(Path(cache.node_path).expanduser())},  # the kubelet knows no home
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
                    ]
                }
            },
        },
    }


def persistent_volume_claim(cache: ModelCachePlan) -> dict[str, Any]:
    """The claim that pods name."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": cache.name, "namespace": names.MODELS_NAMESPACE, "labels": _LABELS},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": names.STORAGE_CLASS,
            "volumeName": f"{names.PART_OF}-{cache.name}",
            "resources": {"requests": {"storage": f"{cache.capacity_gib}Gi"}},
        },
    }
