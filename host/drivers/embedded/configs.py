"""The configuration files of the cluster's programs, as text. Pure: equal layouts give equal bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from host.drivers.embedded import pki
from host.drivers.embedded.layout import Layout

PAUSE_NAME = "lab.local/pause"
CLIENTS = ("kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
RUNTIME_SOCKET = "/run/containerd/nri.sock"


def rendered(layout: Layout, *, pause_image: str, cni_plugins: Path) -> dict[Path, str]:
    """Every file below the cluster's configuration folder; kubeconfigs need the certificates to be there."""
    folder = layout.config
    files = {
        folder / "kubelet.json": kubelet(layout),
        folder / "kube-proxy.json": kube_proxy(layout),
        folder / "admission.json": admission(),
        folder / "containerd.toml": containerd(layout, pause_image=pause_image, cni_plugins=cni_plugins),
        folder / "cni" / "net.d" / "10-lab.conflist": cni(layout),
        # No name server of the machine can be reached from inside; pods get the cluster's own DNS service where there
        # is one.
        folder / "resolv.conf": "options timeout:1\n",
    }
    clients = (*CLIENTS, pki.POLICIES) if layout.plan.network_policies else CLIENTS
    files.update({folder / f"{client}.kubeconfig": pki.kubeconfig(layout, client, client) for client in clients})
    return files


def kubelet(layout: Layout) -> str:
    """KubeletConfiguration. Images cannot be pulled again here, so they are never collected."""
    return _json({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": layout.plan.address, "port": 10250, "readOnlyPort": 0, "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "tlsCertFile": str(layout.pki / "kubelet.crt"), "tlsPrivateKeyFile": str(layout.pki / "kubelet.key"),
        "tlsMinVersion": "VersionTLS12",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
        "x509": {"clientCAFile": str(layout.pki / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs", "cgroupRoot": layout.cgroup, "cgroupsPerQOS": True, "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDomain": "cluster.local", "clusterDNS": [layout.dns_service],
        "resolvConf": str(layout.config / "resolv.conf"),
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi",
        "nodefs.inodesFree": "1%"},
        "nodeStatusUpdateFrequency": "5s", "shutdownGracePeriod": "0s", "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 3,
    })  # fmt: skip


def kube_proxy(layout: Layout) -> str:
    """KubeProxyConfiguration. Node ports answer on the node's address alone; conntrack's machine-wide limits are left
    alone.
    """
    return _json({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.config / "kube-proxy.kubeconfig")},
        "hostnameOverride": layout.plan.node, "mode": "iptables", "clusterCIDR": layout.pods,
        "bindAddress": layout.plan.address, "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [f"{layout.plan.address}/32"],
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })  # fmt: skip


def admission() -> str:
    """Pods of namespaces without labels of their own are held to `baseline` and warned of `restricted`."""
    return _json({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "PodSecurity", "configuration": {
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
            "defaults": {"enforce": "baseline", "enforce-version": "latest", "warn": "restricted",
            "warn-version": "latest", "audit": "restricted", "audit-version": "latest"},
            "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": ["kube-system"]},
        }}],
    })  # fmt: skip


def containerd(layout: Layout, *, pause_image: str, cni_plugins: Path) -> str:
    """containerd 2's configuration; its state lies on a path that the mount namespace makes the cluster's own."""
    quoted = json.dumps
    # What enforces policies learns from NRI which pod an address belongs to before the pod's first packet; the API
    # server tells it later. No plugin of the machine's own containerd is started: the folders are the cluster's.
    plugins, nri = ', "io.containerd.nri.v1.nri"', ""
    if layout.plan.network_policies:
        plugins = ""
        nri = f"""
[plugins.'io.containerd.nri.v1.nri']
disable = false
socket_path = {quoted(RUNTIME_SOCKET)}
plugin_path = {quoted(str(layout.config / "nri"))}
plugin_config_path = {quoted(str(layout.config / "nri"))}
"""
    return f"""version = 3
root = {quoted(str(layout.images))}
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper"{plugins}]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = {quoted(pause_image)}

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
enable_unprivileged_ports = true
enable_unprivileged_icmp = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [{quoted(str(cni_plugins))}]
conf_dir = "/etc/cni/net.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins.'io.containerd.grpc.v1.cri']
disable_tcp_service = true
stream_server_address = "127.0.0.1"
{nri}"""


def cni(layout: Layout) -> str:
    """The bridge network of the one node; it enforces no NetworkPolicy by itself."""
    return _json({
        "cniVersion": "1.0.0", "name": "lab",
        "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipMasq": False,
             "ipam": {"type": "host-local", "dataDir": "/var/lib/cni/networks", "ranges": [[{"subnet": layout.pods}]],
             "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    })  # fmt: skip


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"
