"""The cluster's network and mount namespaces, its veth pair and its routes.

The mount namespace hides the fixed paths of kubelet, containerd and CNI behind folders of the cluster, so that two
clusters never share them and the machine's own /var/lib, /etc and /run see none of it. All mounts of pods end with the
namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from host.drivers.embedded.layout import Layout
from host.system import command, files
from stacks.errors import HostError

_SECONDS = 30.0
# Host-wide settings that the kubelet sets when they differ from what it wants: in the namespace it reads what it wants.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}  # fmt: skip
NAMESPACED_SETTINGS = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}


def hidden_paths(layout: Layout) -> dict[Path, Path]:
    """Fixed paths and the cluster's folder that stands in for each, inside the mount namespace."""
    return {
        Path("/var/lib/kubelet"): layout.state / "kubelet",
        Path("/var/lib/cni"): layout.run / "cni",
        Path("/var/log/pods"): layout.state / "logs" / "pods",
        Path("/var/log/containers"): layout.state / "logs" / "containers",
        Path("/etc/cni"): layout.config / "cni",
        Path("/usr/libexec/kubernetes"): layout.state / "plugins",
        Path("/run/containerd"): layout.run / "containerd",
    }


def enter(layout: Layout) -> list[str]:
    """The words before a command that shall run inside the cluster's namespaces."""
    return ["nsenter", f"--net={layout.network_namespace}", f"--mount={layout.mount_namespace}", "--"]


def present(layout: Layout) -> bool:
    """Whether both namespaces are pinned and were made to their end."""
    return _ready(layout).exists() and _is_pinned(layout.network_namespace) and _is_pinned(layout.mount_namespace)


def is_inside(layout: Layout, pid: int) -> bool:
    """Whether a process is in the cluster's present namespaces and not in earlier ones of the same name."""
    try:
        return all(
            (Path(f"/proc/{pid}/ns") / kind).stat().st_ino == pin.stat().st_ino
            for kind, pin in (("net", layout.network_namespace), ("mnt", layout.mount_namespace))
        )
    except OSError:
        return False


def make(layout: Layout) -> None:
    """Makes both namespaces again and pins them; whatever ran in earlier ones must be gone. Raises HostError."""
    _ready(layout).unlink(missing_ok=True)
    unpin(layout)
    # of processes that ended with the old namespaces, as a reboot would
    for stale in (layout.run / "containerd", layout.run / "cni"):
        shutil.rmtree(stale, ignore_errors=True)
    pins = layout.network_namespace.parent
    pins.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The kernel pins a mount namespace only below a mount that is not shared.
    command.run(["mount", "--bind", pins, pins], timeout=_SECONDS)
    command.run(["mount", "--make-private", pins], timeout=_SECONDS)
    for pin in (layout.network_namespace, layout.mount_namespace):
        pin.touch()
    hidden = hidden_paths(layout)
    settings = layout.run / "kernel"
    script = ["set -e", "ip link set lo up"]
    for target, source in hidden.items():
        source.mkdir(parents=True, exist_ok=True, mode=0o755)
        script.append(shlex.join(["mount", "--bind", str(source), str(target)]))
    for name, value in KERNEL_SETTINGS.items():
        file = settings / name
        files.write_atomic(file, f"{value}\n")
        script.append(f"if [ -e /proc/sys/{name} ]; then mount --bind {shlex.quote(str(file))} /proc/sys/{name}; fi")
    script += [f"echo {value} > /proc/sys/{name}" for name, value in NAMESPACED_SETTINGS.items()]
    script.append(shlex.join(["touch", str(_ready(layout))]))
    own = [f"--net={layout.network_namespace}", f"--mount={layout.mount_namespace}", "--propagation", "slave"]
    with _mount_points_alone(layout):  # until the namespace is pinned nobody could know that they are in use
        _make_mount_points(layout, list(hidden))
        command.run(
            ["setpriv", "--pdeathsig", "KILL", "unshare", *own, "sh", "-c", "\n".join(script)], timeout=_SECONDS
        )


def connect(layout: Layout) -> bool:
    """The veth pair, addresses and routes, where they are not as they should be; returns whether anything was
    changed.
    """
    if _is_connected(layout):
        return False
    disconnect(layout)
    node, link = layout.plan.address, layout.link
    inside = f"nsenter --net={layout.network_namespace} -- ip"
    # of a killed run; its other end goes with it
    command.run(f"{inside} link delete eth0".split(), timeout=_SECONDS, check=False)
    command.run(f"{inside} link add {link} type veth peer name eth0".split(), timeout=_SECONDS)
    # Marked before it comes out to the machine: there is never a link there of which nobody knows whose it is.
    command.run([*f"{inside} link set {link} alias".split(), layout.link_alias], timeout=_SECONDS)
    for line in (
        f"{inside} link set {link} netns {os.getpid()}",
        f"ip address add {layout.host_address}/30 dev {link}",
        f"ip link set {link} up",
        f"{inside} address add {node}/30 dev eth0",
        f"{inside} link set eth0 up",
        f"{inside} route add default via {layout.host_address}",
        f"ip route add {layout.pods} via {node} dev {link}",
        f"ip route add {layout.services} via {node} dev {link}",
    ):
        command.run(line.split(), timeout=_SECONDS)
    return True


def disconnect(layout: Layout) -> None:
    """Removes the machine's end of the pair, if it is ours, and with it the other end and the routes."""
    if link_owner(layout.link) == layout.link_alias:
        command.run(["ip", "link", "delete", layout.link], timeout=_SECONDS)


def link_owner(link: str) -> str | None:
    """The mark on a link: empty where it has none, None where there is no such link."""
    folder = Path("/sys/class/net") / link
    if not folder.exists():
        return None
    try:
        return (folder / "ifalias").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def unpin(layout: Layout) -> None:
    """Lets go of the namespaces; the kernel removes them with their last process."""
    pins = layout.network_namespace.parent
    for pin in (layout.mount_namespace, layout.network_namespace, pins):
        for _ in range(8):  # a killed run may have stacked mounts
            if not _is_mounted(pin):
                break
            command.run(["umount", "--lazy", pin], timeout=_SECONDS)


def release_mount_points(layout: Layout) -> None:
    """Removes the empty folders that stood in for missing ones, unless another cluster still uses them."""
    record = layout.cache / "mount-points.json"
    with _mount_points_alone(layout):
        others = [p for p in layout.run.parent.glob("*/ns/mnt") if p != layout.mount_namespace and _is_pinned(p)]
        if others or not record.exists():
            return
        for folder in sorted(
            (Path(p) for p in json.loads(record.read_text(encoding="utf-8"))), key=lambda p: -len(p.parts)
        ):
            with contextlib.suppress(OSError):  # not empty: somebody else uses it by now
                folder.rmdir()
        record.unlink()


def _make_mount_points(layout: Layout, wanted: list[Path]) -> None:
    record = layout.cache / "mount-points.json"
    made = set(json.loads(record.read_text(encoding="utf-8"))) if record.exists() else set()
    missing = [str(folder) for path in wanted for folder in (path, *path.parents) if not folder.exists()]
    # before they are made: a killed run leaves none unknown
    files.write_atomic(record, json.dumps(sorted(made | set(missing))))
    for path in wanted:
        path.mkdir(parents=True, exist_ok=True)


def _mount_points_alone(layout: Layout) -> AbstractContextManager[None]:
    return files.lock(layout.cache / ".mount-points.lock", what="the mount points")


def _ready(layout: Layout) -> Path:
    """Stands when the namespaces hold all that they should; a killed or failed run leaves none."""
    return layout.run / "namespaces-ready"


def _is_connected(layout: Layout) -> bool:
    if link_owner(layout.link) != layout.link_alias:
        return False
    routes = command.run(f"ip -json route show dev {layout.link}".split(), timeout=_SECONDS, check=False).stdout
    inside = command.run(
        f"nsenter --net={layout.network_namespace} -- ip -json address show dev eth0".split(),
        timeout=_SECONDS,
        check=False,
    ).stdout
    try:
        destinations = {r.get("dst") for r in json.loads(routes or "[]")}
        addresses = {a.get("local") for link in json.loads(inside or "[]") for a in link.get("addr_info", [])}
    except ValueError as error:
        raise HostError(f"ip does not speak JSON: {error}", remedy="iproute2 5 or newer is needed") from None
    return {layout.pods, layout.services} <= destinations and layout.plan.address in addresses


def _is_pinned(pin: Path) -> bool:
    """A namespace file lies on a file system of its own kind; an unpinned one is a plain empty file."""
    return pin.exists() and _is_mounted(pin)


def _is_mounted(path: Path) -> bool:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return any(line.split()[4] == os.fspath(path) for line in lines)
