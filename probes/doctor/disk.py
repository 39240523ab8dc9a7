"""Disks: room for what is still to come, and the share below which a kubelet evicts pods."""

from __future__ import annotations

from dataclasses import dataclass

from probes.diagnosis.problem import fill
from probes.doctor.subject import Subject, fail, ok, skipped, warn
from probes.nvidia import Layer
from stacks.names import at_home

_NODEFS, _K3S = 0.10, 0.05
"""Free shares of the disk below which pods are evicted: the kubelet's own (nodefs.available), and what K3s sets."""

_INODES = 0.05  # kubelet: nodefs.inodesFree
_FREE_IT = {
    "k3s": "sudo k3s crictl rmi --prune removes images that no pod uses",
    "minikube": "minikube ssh -p {name} -- docker image prune -a -f removes images that no container uses",
}
_SHOW_DOCKER = "docker system df shows what Docker has; docker image prune removes images that have no name"


@dataclass(frozen=True)
class Disk:
    """A mounted file system: GiB (2^30), and the share of its inodes that is free."""

    mount: str
    total: float
    free: float
    inodes: float

    @property
    def share(self) -> float:
        """The free part of it."""
        return self.free / self.total if self.total else 1.0

    def __str__(self) -> str:
        return f"{self.mount} {self.free:.0f} of {self.total:.0f} GiB free ({self.share:.0%})"


def disk(subject: Subject) -> Layer:
    """Every disk that images, weights and the cluster's own files lie on."""
    disks = _disks(subject)
    if not disks:
        return skipped("disk", "df says nothing")
    evidence, worst = "; ".join(map(str, disks)), min(disks, key=lambda d: d.share)
    empty = min(disks, key=lambda d: d.inodes)
    if empty.inodes < _INODES:
        cause = f"{empty.mount} has {empty.inodes:.0%} of its inodes left: soon no file can be made, pods are evicted"
        return fail("disk", evidence, cause, f"du --inodes -x {empty.mount} | sort -n | tail shows where they are")
    least, what = _evicting(subject)
    if worst.share < least:
        cause = f"{worst.mount} is nearly full: {what}"
        return fail("disk", evidence, cause, _advice(subject), "disk-pressure")
    need = next((b.need for b in subject.plan.budgets if b.name == "disk"), 0.0) if subject.plan else 0.0
    if not subject.serving and need and worst.free - least * worst.total < need:
        cause = f"image and weights may need {need:.0f} GiB more, unless they are there already"
        return warn("disk", evidence, cause, _advice(subject))
    return ok("disk", evidence)


def _disks(subject: Subject) -> list[Disk]:
    found: dict[str, Disk] = {}
    for path in _places(subject):
        size = _row(subject, "-k", path)
        nodes = _row(subject, "-i", path)
        if size and size[5] not in found:
            total, free = int(size[1]) / 2**20, int(size[3]) / 2**20
            known = nodes is not None and nodes[1].isdigit() and int(nodes[1]) > 0
            found[size[5]] = Disk(size[5], total, free, int(nodes[3]) / int(nodes[1]) if known and nodes else 1.0)
    return list(found.values())


def _places(subject: Subject) -> list[str]:
    docker_root = subject.docker.root if subject.docker and not subject.docker.desktop else ""
    cluster = {"k3s": "/var/lib/rancher", "embedded": "/var/lib"}.get(subject.driver, "")
    cache = (subject.plan.cache_folder or "") if subject.plan else ""
    home = subject.machine.run(["printenv", "HOME"]).output.strip() or "/root"
    wanted = ["/", docker_root, cluster, at_home(cache, home)]
    return [path for path in (_existing(subject, p) for p in wanted) if path]


def _existing(subject: Subject, path: str) -> str:
    """The path, or the nearest folder above it that is there."""
    while path and path != "/" and not subject.machine.exists(path):
        path = path.rpartition("/")[0] or "/"
    return path


def _row(subject: Subject, unit: str, path: str) -> list[str] | None:
    ran = subject.machine.run(["df", "-P", unit, path])
    fields = ran.output.splitlines()[-1].split() if ran.ok and ran.output.strip() else []
    return fields if len(fields) >= 6 and fields[1].isdigit() and fields[3].isdigit() else None


def _evicting(subject: Subject) -> tuple[float, str]:
    """The least free share, and what happens below it."""
    if subject.driver == "minikube":
        return _K3S, "minikube's kubelet does not evict, so that pulls and writes end with `no space left on device`"
    if subject.driver == "k3s":
        return _K3S, f"K3s evicts pods below {_K3S:.0%}, and takes no new ones"
    return _NODEFS, f"a kubelet evicts pods below {_NODEFS:.0%}, and takes no new ones"


def _advice(subject: Subject) -> str:
    name = subject.plan.cluster.name if subject.plan else ""
    own = fill(_FREE_IT.get(subject.driver, ""), {"name": name})
    docker = _SHOW_DOCKER if subject.docker else ""
    return "; ".join(part for part in (own, docker) if part) or "du -xh / | sort -h | tail shows where it is"
