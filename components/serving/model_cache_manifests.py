"""The model cache as Kubernetes sees it: a folder of the node behind a local PersistentVolume, so that pods need no
hostPath.
"""

from __future__ import annotations

from typing import Any

from stacks import names
from stacks.plan import ModelCachePlan

_LABELS = names.common_labels("model-cache")


def storage_class(cache: ModelCachePlan) -> dict[str, Any]:
    """A class that provisions nothing and keeps everything."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": cache.storage_class, "labels": _LABELS},
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def persistent_volume(cache: ModelCachePlan, *, namespace: str, node: str, home: str) -> dict[str, Any]:
    """The folder on `node`; claimRef keeps every other claim away from it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": cache.volume, "labels": _LABELS},
        "spec": {
            "capacity": {"storage": f"{cache.capacity_gib}Gi"},
            "accessModes": ["ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": cache.storage_class,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": cache.name,
            },
            "local": {"path": names.at_home(cache.node_path, home)},  # the kubelet knows no home
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
                    ]
                }
            },
        },
    }


def persistent_volume_claim(cache: ModelCachePlan, namespace: str) -> dict[str, Any]:
    """The claim that pods name."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": cache.name,
            "namespace": namespace,
            "labels": _LABELS,
            "annotations": names.CLAIM_ANNOTATIONS,
        },
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": cache.storage_class,
            "volumeName": cache.volume,
            "resources": {"requests": {"storage": f"{cache.capacity_gib}Gi"}},
        },
    }
