"""Which changed fields replace a Kubernetes object: the table of pulumi-kubernetes 4.34 (provider/pkg/provider/diff.go)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

CLUSTER_SCOPED: Final = frozenset(
    [
        "APIService",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "CSIDriver",
        "CSINode",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
        "GatewayClass",
    ]
)
_POD = (
    "affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks hostAliases hostIPC hostNetwork hostPID hostname "
    "imagePullSecrets nodeName nodeSelector overhead preemptionPolicy priority priorityClassName readinessGates restartPolicy "
    "runtimeClassName schedulerName securityContext serviceAccount serviceAccountName shareProcessNamespace subdomain "
    "terminationGracePeriodSeconds volumes"
)
_CONTAINER = (
    "args command env image imagePullPolicy lifecycle livenessProbe ports readinessProbe resources securityContext stdin stdinOnce "
    "terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir"
)
_VOLUME = (
    "awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk glusterfs hostPath iscsi local nfs "
    "photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume"
)


def _spec(fields: str, prefix: str = "spec") -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in fields.split())


_TABLE: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("apps/v1", "DaemonSet"): _spec("selector"),
    ("apps/v1", "Deployment"): _spec("selector"),
    ("apps/v1", "StatefulSet"): _spec("podManagementPolicy revisionHistoryLimit selector serviceName volumeClaimTemplates"),
    ("batch/v1", "Job"): _spec("completions parallelism selector template"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): ("roleRef",),
    ("storage.k8s.io/v1", "StorageClass"): ("parameters", "provisioner"),
    ("v1", "PersistentVolume"): _spec(_VOLUME),
    ("v1", "PersistentVolumeClaim"): _spec("accessModes selector storageClassName volumeName"),
    ("v1", "Pod"): _spec(_POD) + _spec(_CONTAINER, "spec.containers[*]") + _spec(_CONTAINER, "spec.initContainers[*]"),
    ("v1", "ResourceQuota"): _spec("scopes"),
    ("v1", "Secret"): ("type",),
    ("v1", "Service"): _spec("clusterIP"),
}


def force_new(inputs: Mapping[str, Any], *, secret_mutable: bool, config_map_mutable: bool) -> tuple[str, ...]:
    """The property paths whose change replaces the object; the two options are those of its provider."""
    version, kind, immutable = inputs.get("apiVersion"), inputs.get("kind"), inputs.get("immutable") is True
    fields: tuple[str, ...] = ("metadata.name", "metadata.namespace")
    if (version, kind) == ("v1", "Secret") and (immutable or not secret_mutable):
        return (*fields, "type", "stringData", "data")
    if (version, kind) == ("v1", "ConfigMap") and (immutable or not config_map_mutable):
        return (*fields, "binaryData", "data")
    return fields + _TABLE.get((str(version), str(kind)), ())
