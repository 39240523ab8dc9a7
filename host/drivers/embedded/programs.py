"""The programs of a cluster: what each is called with and reads, in the order in which they start."""

from __future__ import annotations

from pathlib import Path

from host.drivers.embedded import configs, pki
from host.drivers.embedded.layout import Layout
from host.drivers.embedded.parts import Parts
from host.drivers.embedded.supervise import Program
from stacks.plan import EmbeddedPlan

FIRST = ("etcd", "containerd", "kube-apiserver")
SECOND = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
QUEUE = 98  # of the kernel, in the cluster's network namespace: any number does
# Seconds between SIGTERM and SIGKILL when one is restarted. The API server waits for its watchers, so it is not asked
# for long.
GRACE = {"etcd": 10.0, "containerd": 10.0, "kube-apiserver": 5.0, "kubelet": 5.0}
_CERTIFICATES = {
    "etcd": ("etcd", "etcd-ca"),
    "kube-apiserver": (
        "kube-apiserver",
        "kube-apiserver-kubelet",
        "kube-apiserver-etcd",
        "front-proxy",
        "ca",
        "etcd-ca",
        "front-proxy-ca",
        "service-account",
    ),
    "kube-controller-manager": ("kube-controller-manager", "ca", "front-proxy-ca", "service-account"),
    "kube-scheduler": ("kube-scheduler", "ca", "front-proxy-ca"),
    "kubelet": ("kubelet", "ca"),
}
_FILES = {
    "containerd": ("containerd.toml", "cni/net.d/10-lab.conflist"),
    "kube-apiserver": ("admission.json",),
    "kube-controller-manager": ("kube-controller-manager.kubeconfig",),
    "kube-scheduler": ("kube-scheduler.kubeconfig",),
    "kubelet": ("kubelet.json", "kubelet.kubeconfig", "resolv.conf"),
    "kube-proxy": ("kube-proxy.json", "kube-proxy.kubeconfig"),
    pki.POLICIES: (f"{pki.POLICIES}.kubeconfig",),
}


def second(plan: EmbeddedPlan) -> tuple[str, ...]:
    """The programs that start once the API server and containerd answer."""
    return (pki.POLICIES, *SECOND) if plan.network_policies else SECOND


def of(plan: EmbeddedPlan) -> tuple[str, ...]:
    """All programs of a cluster, in the order in which they start."""
    return (*FIRST, *second(plan))


def readers(layout: Layout, path: Path) -> list[str]:
    """The programs that read a configuration file."""
    return [name for name, files in _FILES.items() if str(path.relative_to(layout.config)) in files]


def all_programs(layout: Layout, parts: Parts, rendered: dict[Path, str]) -> dict[str, Program]:
    """Every program by name, with all that it reads."""
    words = {
        "etcd": [str(parts.etcd / "etcd"), *_etcd(layout)],
        "containerd": [str(parts.containerd / "containerd"), "--config", str(layout.config / "containerd.toml")],
        "kube-apiserver": [str(parts.kubernetes / "kube-apiserver"), *_api_server(layout)],
        "kube-controller-manager": [str(parts.kubernetes / "kube-controller-manager"), *_controllers(layout)],
        "kube-scheduler": [str(parts.kubernetes / "kube-scheduler"), *_scheduler(layout)],
        "kubelet": [str(parts.kubernetes / "kubelet"), *_kubelet(layout)],
        "kube-proxy": [str(parts.kubernetes / "kube-proxy"), f"--config={layout.config / 'kube-proxy.json'}"],
    }
    if parts.network_policies:
        words[pki.POLICIES] = [str(parts.network_policies / pki.POLICIES), *_network_policies(layout)]
    reads = {
        name: {
            **{file: rendered[layout.config / file] for file in _FILES.get(name, ())},
            **pki.fingerprints(layout, *_CERTIFICATES.get(name, ())),
        }
        for name in words
    }
    return {name: Program(name, words[name], reads[name]) for name in of(layout.plan)}


def _etcd(layout: Layout) -> list[str]:
    pair = {"cert-file": "etcd.crt", "key-file": "etcd.key", "trusted-ca-file": "etcd-ca.crt"}
    return [
        "--name=lab", f"--data-dir={layout.state / 'etcd'}", "--log-level=warn", "--auto-compaction-retention=1h",
        "--listen-client-urls=https://127.0.0.1:2379", "--advertise-client-urls=https://127.0.0.1:2379",
        "--listen-peer-urls=https://127.0.0.1:2380", "--initial-advertise-peer-urls=https://127.0.0.1:2380",
        "--initial-cluster=lab=https://127.0.0.1:2380",
        "--client-cert-auth", "--peer-client-cert-auth",
        *(f"--{prefix}{flag}={layout.pki / file}" for prefix in ("", "peer-") for flag, file in pair.items()),
    ]  # fmt: skip


def _api_server(layout: Layout) -> list[str]:
    files = {
        "client-ca-file": "ca.crt", "tls-cert-file": "kube-apiserver.crt", "tls-private-key-file": "kube-apiserver.key",
        "etcd-cafile": "etcd-ca.crt", "etcd-certfile": "kube-apiserver-etcd.crt",
        "etcd-keyfile": "kube-apiserver-etcd.key",
        "kubelet-certificate-authority": "ca.crt", "kubelet-client-certificate": "kube-apiserver-kubelet.crt",
        "kubelet-client-key": "kube-apiserver-kubelet.key",
        "service-account-key-file": "service-account.pub", "service-account-signing-key-file": "service-account.key",
        "requestheader-client-ca-file": "front-proxy-ca.crt", "proxy-client-cert-file": "front-proxy.crt",
        "proxy-client-key-file": "front-proxy.key",
    }  # fmt: skip
    return [
        f"--bind-address={layout.plan.address}", f"--advertise-address={layout.plan.address}", "--secure-port=6443",
        "--etcd-servers=https://127.0.0.1:2379", f"--service-cluster-ip-range={layout.services}",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
        f"--admission-control-config-file={layout.config / 'admission.json'}",
        "--anonymous-auth=false", "--allow-privileged=false", "--profiling=false",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--requestheader-allowed-names=front-proxy", "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        *(f"--{flag}={layout.pki / file}" for flag, file in files.items()),
    ]  # fmt: skip


def _controllers(layout: Layout) -> list[str]:
    return [
        *_controller_like(layout, "kube-controller-manager"),
        f"--cluster-signing-cert-file={layout.pki / 'ca.crt'}", f"--cluster-signing-key-file={layout.pki / 'ca.key'}",
        f"--root-ca-file={layout.pki / 'ca.crt'}",
        f"--service-account-private-key-file={layout.pki / 'service-account.key'}", "--use-service-account-credentials",
        f"--cluster-name={layout.plan.name}", "--allocate-node-cidrs=false",
    ]  # fmt: skip


def _scheduler(layout: Layout) -> list[str]:
    return _controller_like(layout, "kube-scheduler")


def _controller_like(layout: Layout, name: str) -> list[str]:
    kubeconfig = layout.config / f"{name}.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}", f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false",
        f"--tls-cert-file={layout.pki / name}.crt", f"--tls-private-key-file={layout.pki / name}.key",
        f"--client-ca-file={layout.pki / 'ca.crt'}",
        f"--requestheader-client-ca-file={layout.pki / 'front-proxy-ca.crt'}",
    ]  # fmt: skip


def _kubelet(layout: Layout) -> list[str]:
    return [
        f"--config={layout.config / 'kubelet.json'}", f"--kubeconfig={layout.config / 'kubelet.kubeconfig'}",
        f"--hostname-override={layout.plan.node}", f"--node-ip={layout.plan.address}",
    ]  # fmt: skip


def _network_policies(layout: Layout) -> list[str]:
    return [
        f"--kubeconfig={layout.config / pki.POLICIES}.kubeconfig", f"--node={layout.plan.node}", f"--queue={QUEUE}",
        f"--runtime={configs.RUNTIME_SOCKET}",
    ]  # fmt: skip
