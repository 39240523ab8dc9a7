"""Sentences of the scheduler, the kubelet and containerd."""

from __future__ import annotations

from probes.diagnosis.signature import Signature, signature

KUBERNETES: tuple[Signature, ...] = (
    signature(
        "oom-killed", r"OOMKilled", "the container took more memory than its limit",
        "let the limit be derived: remove pin.memoryLimitGiB", "kubelet",
    ),
    signature(
        "evicted-disk", r"low on resource: ephemeral-storage|had disk pressure|disk-pressure|DiskPressure",
        "the node ran short of disk, so that its kubelet evicts pods and takes no new ones",
        "free disk on the machine; the taint goes by itself about five minutes later", "kubelet eviction",
    ),
    signature(
        "evicted-memory", r"low on resource: memory|memory-pressure|MemoryPressure",
        "the node ran short of memory, so that its kubelet evicts pods",
        "stop something on the machine, or lower what its models may take", "kubelet eviction",
    ),
    signature(
        "admission", r"UnexpectedAdmissionError",
        "the kubelet could not give the pod its GPU: the device plugin was not there or offered none",
        "wait for the plugin, then delete the pod: kubectl delete pod -n {namespace} {pod}", "kubelet device manager",
    ),
    signature(
        "image-never", r"ErrImageNeverPull", "the image is not on the node", "./lab up {stack} builds and imports it",
        "kubelet",
    ),
    signature(
        "image-disk", r"(?:pull|unpack|extract).*no space left on device", "the image does not fit on the node's disk",
        "free disk on the machine", "containerd",
    ),
    signature(
        "image-denied", r"(?:Pull|pull).*(?:unauthorized|denied|403 Forbidden)", "the registry refuses the image",
        "log in to the registry, or check the image's name", "containerd",
    ),
    signature(
        "image-missing", r"(?:Pull|pull).*(?:not found|manifest unknown)", "the registry has no such image",
        "check the image's tag and digest", "containerd",
    ),
    signature(
        "image-pull", r"ImagePullBackOff|ErrImagePull", "the image cannot be pulled",
        "check the network and the registry", "kubelet",
    ),
    signature(
        "no-gpu", r"Insufficient nvidia\.com/gpu",
        "no GPU is free: other pods have them, or the device plugin offers none",
        "kubectl describe node: nvidia.com/gpu under Allocatable must not be 0", "kube-scheduler",
    ),
    signature(
        "no-resource", r"Insufficient (?P<what>memory|cpu|ephemeral-storage)",
        "the node has too little {what} free", "stop something on it, or lower what the model asks for",
        "kube-scheduler",
    ),
    signature(
        "taint", r"untolerated taint \{?(?P<taint>[^}: ]+)",
        "the node's taint {taint} keeps the pod away", "kubectl describe node says who set it", "kube-scheduler",
    ),
    signature(
        "config", r"CreateContainerConfigError", "a Secret or ConfigMap of the pod is missing", "./lab up {stack}",
        "kubelet",
    ),
    signature(
        "mount", r"FailedMount|unbound immediate PersistentVolumeClaims|MountVolume\.NewMounter",
        "the model cache is not there on the node, or its claim is not bound", "./lab up {stack}", "kubelet",
    ),
    signature(
        "sandbox", r"FailedCreatePodSandBox", "the pod's sandbox cannot be made",
        "kubectl describe pod -n {namespace} {pod}", "kubelet",
    ),
    signature(
        "exec", r"RunContainerError|CreateContainerError|StartError|exec format error",
        "the container cannot be started",
        "kubectl describe pod -n {namespace} {pod}", "kubelet",
    ),
    signature(
        "probe", r"(?:Liveness|Startup) probe failed", "the engine was restarted because its health check failed",
        "kubectl logs -n {namespace} --previous {pod}", "kubelet",
    ),
)  # fmt: skip
"""What the scheduler and the kubelet say of a pod."""
