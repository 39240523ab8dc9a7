"""What a machine has of the things that an embedded cluster makes: compare before `up` and after `down`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_FOLDERS = (
    "/etc/cni", "/opt/cni", "/usr/libexec/kubernetes", "/var/lib/kubelet", "/var/lib/cni", "/var/lib/containerd",
    "/var/lib/etcd", "/var/log/pods",
    "/var/log/containers", "/run/containerd", "/run/netns", "/run/local-ai-lab", "/run/xtables.lock", "/run/flannel",
    "/etc/kubernetes", "/etc/systemd/system",
)  # fmt: skip
_SETTINGS = ("vm", "kernel", "net/ipv4", "net/bridge", "net/netfilter", "fs/inotify")
# These move by themselves.
_RESTLESS = (
    "random",
    "pty/nr",
    "ns_last_pid",
    "count",
    "perf_event",
    "nf_conntrack_count",
    "bpf_stats",
    "tainted",
    "sched_domain",
    "stat_refresh",
    "ip_local",
)


def inventory(*clusters: str) -> dict[str, list[str]]:
    """Category -> sorted entries. With names of clusters, processes of other clusters, which somebody else may use
    meanwhile, do not count.
    """
    return {
        "processes": sorted({_command(p) for p in Path("/proc").iterdir() if p.name.isdigit() and not _is_others(p,
        clusters)} & _names_of_interest()),
        "mounts": sorted(" ".join(line.split()[3:5]) for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "links": sorted(p.name for p in Path("/sys/class/net").iterdir()),
        "routes": sorted(_run("ip", "route", "show", "table", "all").splitlines()),
        "rules": sorted(_run("nft", "list", "ruleset").splitlines()) + sorted(_run("iptables-save").splitlines()),
        "namespaces": sorted(_cluster_namespaces()),
        "cgroups": sorted(str(p) for p in Path("/sys/fs/cgroup").glob("*/*") if p.is_dir()),
        "settings": sorted(_settings()),
        "folders": sorted(str(p) for f in _FOLDERS if (p := Path(f)).exists()),
        "units": sorted(p.name for p in Path("/etc/systemd/system").glob("*")),
        "packages": sorted(_run("dpkg-query", "-W", "-f", "${Package} ${Version}\n").splitlines()),
        "users": Path("/etc/passwd").read_text().splitlines(),
        "temporary": sorted(p.name for p in Path("/tmp").iterdir()  # noqa: S108
            if p.name.startswith(("lab", "kube", "etcd", "ctd", "containerd"))),
    }  # fmt: skip


def difference(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """Categories that differ, with what came and what went."""
    return {
        key: {"came": sorted(set(after[key]) - set(before[key])), "went": sorted(set(before[key]) - set(after[key]))}
        for key in before
        if set(before[key]) != set(after[key])
    }


def _names_of_interest() -> set[str]:
    return {
        "etcd",
        "containerd",
        "containerd-shim",
        "kube-apiserver",
        "kube-controller",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "pause",
        "runc",
    }


def _is_others(process: Path, clusters: tuple[str, ...]) -> bool:
    try:
        groups = (process / "cgroup").read_text()
    except OSError:
        return False
    return bool(clusters) and "/local-ai-lab-" in groups and not any(f"/{name}/" in groups for name in clusters)


def _command(process: Path) -> str:
    """The name of a living process; a zombie is its parent's business."""
    try:
        stat = (process / "stat").read_text()
        return "" if stat.rpartition(")")[2].split()[0] in "ZX" else (process / "comm").read_text().strip()
    except OSError:
        return ""


def _cluster_namespaces() -> set[str]:
    """Mount namespaces in which a kubelet's fixed paths are covered, and the network namespaces beside them; an image
    build has others.
    """
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(
                f" {place} " in (process / "mountinfo").read_text() for place in ("/var/lib/kubelet", "/run/containerd")
            ):
                found |= {str((process / "ns" / kind).readlink()) for kind in ("mnt", "net")}
        except OSError:
            continue
    return found


def _settings() -> list[str]:
    found = []
    for root in _SETTINGS:
        for path in Path("/proc/sys", root).rglob("*"):
            if path.is_file() and not any(word in str(path) for word in _RESTLESS):
                try:
                    found.append(f"{path}={path.read_text().strip()}")
                except OSError:
                    continue
    return found


def _run(*arguments: str) -> str:
    try:
        return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=30).stdout
    except OSError:
        return ""


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(difference(*(json.loads(Path(p).read_text()) for p in sys.argv[1:])), indent=1))
    else:
        print(json.dumps(inventory(), indent=1))
