"""The programs that a cluster is made of, and where each comes from.

Kubernetes, containerd and etcd: their releases where these can be had, else their Go modules. The pause program: built.
runc and the CNI plugins: Debian packages.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from host.artifacts import debian, go_modules, releases
from host.artifacts.go_modules import GoModule
from host.system import files
from stacks.errors import HostError
from stacks.plan import EmbeddedPlan

_GO = Path(__file__).with_name("go")
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
_CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
# program that must be found -> package that has it
_SYSTEM = {"ip": "iproute2", "iptables": "iptables"}
# The small ones first: a failure of the surroundings shows within a minute and not after ten.
_ORDER = ("pause", "etcd", "containerd", "network_policies", "kubernetes")
_RELEASED = ("etcd", "containerd", "kubernetes")
# Measured on 2 cores in this order, from empty caches, with the download of the modules.
_BUILD_SECONDS = {"pause": 9, "etcd": 113, "containerd": 148, "network_policies": 93, "kubernetes": 301}
_ALWAYS = ("runc", "containernetworking-plugins")
_IPTABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


@dataclass(frozen=True)
class Parts:
    """Folders of finished programs; `debian` is the private prefix, with names in `tools` that its packages would
    make.
    """

    kubernetes: Path
    containerd: Path
    etcd: Path
    pause: Path
    debian: Path
    network_policies: Path | None = None

    @property
    def cni_plugins(self) -> Path:
        own = self.debian / "root" / "usr" / "lib" / "cni"
        return own if own.is_dir() else Path("/usr/lib/cni")  # installed on the machine, so apt left it out

    def environment(self) -> dict[str, str]:
        """What the daemons run with: our programs first, nothing of the caller's."""
        path = [
            str(self.debian / "tools"),
            str(self.containerd),
            *debian.search_path(self.debian),
            "/usr/local/sbin",
            "/usr/local/bin",
            "/usr/sbin",
            "/usr/bin",
            "/sbin",
            "/bin",
        ]
        environment = {"PATH": os.pathsep.join(path), "HOME": "/root", "LANG": "C.UTF-8"}
        if libraries := debian.library_path(self.debian):
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
        if extensions := sorted((self.debian / "root" / "usr" / "lib").glob("*-linux-gnu/xtables")):
            environment["XTABLES_LIBDIR"] = str(extensions[0])
        return environment

    def find(self, program: str) -> str | None:
        """Where a program is for the daemons."""
        return shutil.which(program, path=self.environment()["PATH"])


def modules(plan: EmbeddedPlan) -> dict[str, GoModule]:
    """The Go modules of a plan. Raises HostError where their go.mod holds another version than the plan says."""
    version = "k8s.io/component-base/version"
    number = plan.kubernetes.removeprefix("v").split(".")
    found = {
        "kubernetes": GoModule(
            _GO / "kubernetes", {name: f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES}, plan.kubernetes,
            f"-s -w -X {version}.gitVersion={plan.kubernetes} -X {version}.gitMajor={number[0]} -X "
            f"{version}.gitMinor={number[1]}",
        ),
        "containerd": GoModule(
            _GO / "containerd", {name: f"github.com/containerd/containerd/v2/cmd/{name}" for name in _CONTAINERD},
            plan.containerd,
            f"-s -w -X github.com/containerd/containerd/v2/version.Version={plan.containerd}",
        ),
        "etcd": GoModule(_GO / "etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, plan.etcd),
        "pause": GoModule(_GO / "pause", {"pause": "."}, "v1"),
    }  # fmt: skip
    if plan.network_policies:
        folder = _GO / "kube-network-policies"
        found["network_policies"] = GoModule(folder, {folder.name: "."}, plan.network_policies)
    for name, fact, module in (
        ("kubernetes", "kubernetes", "k8s.io/kubernetes"),
        ("containerd", "containerd", "github.com/containerd/containerd/v2"),
        ("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        ("network_policies", "networkPolicies", "sigs.k8s.io/kube-network-policies"),
    ):
        if name not in found:
            continue
        locked = found[name].required(module)
        if locked != found[name].version:
            raise HostError(
                f"the plan wants {found[name].name} {found[name].version}, this release has the checksums of {locked} "
                "only",
                remedy=f"in stacks/catalog/compatibility.yaml: embedded.{fact}: {locked}; or see docs/extending.md "
                f"on a new version",
            )
    return found


def available(plan: EmbeddedPlan, cache: Path) -> Parts | None:
    """The parts if all are there, without doing anything; asks no network."""
    folders = {name: _there(name, module, cache) for name, module in modules(plan).items()}
    prefix = debian.prefix_if_unpacked(packages(), cache)
    found = {name: folder for name, folder in folders.items() if folder is not None}
    if len(found) < len(folders) or prefix is None or not (prefix / "tools").is_dir():
        return None
    return Parts(**found, debian=prefix)


def make(plan: EmbeddedPlan, cache: Path) -> Parts:
    """Downloads, builds and unpacks what is missing. Raises HostError."""
    if parts := available(plan, cache):
        return parts
    cache.mkdir(parents=True, exist_ok=True)
    wanted = modules(plan)
    prefix = debian.unpack(packages(), cache)
    with files.lock(prefix.with_name(f".{prefix.name}.tools"), what="the private prefix"):
        _make_tools(prefix)
    order = [name for name in _ORDER if name in wanted]
    found = {name: _there(name, wanted[name], cache) or _released(name, wanted[name].version, cache) for name in order}
    if missing := [name for name in order if found[name] is None]:
        minutes = max(1, round(sum(_BUILD_SECONDS[name] for name in missing) / 60))
        programs = ", ".join(f"{wanted[name].name} {wanted[name].version}" for name in missing)
        _say(f"building from Go modules: {programs}; about {minutes} min on 2 cores")
    folders = {name: folder or go_modules.build(wanted[name], cache) for name, folder in found.items()}
    return Parts(**folders, debian=prefix)


def _there(name: str, module: GoModule, cache: Path) -> Path | None:
    """What is in the cache already. What was built stays in use: a running cluster is not restarted for a download."""
    return go_modules.built(module, cache) or releases.obtained(name, module.version, cache)


def _released(name: str, version: str, cache: Path) -> Path | None:
    folder = releases.obtain(name, version, cache) if name in _RELEASED else None
    if folder:
        _say(f"{name} {version}: its release")
    return folder


def _say(line: str) -> None:
    sys.stderr.write(f"  {line}\n")
    sys.stderr.flush()


def packages() -> list[str]:
    """What is taken from Debian: always runc and the CNI plugins, the rest where the machine lacks it."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return [*_ALWAYS, *(package for program, package in _SYSTEM.items() if not shutil.which(program, path=path))]


def _make_tools(prefix: Path) -> None:
    """The iptables names, which Debian's package makes in a script that we do not run."""
    tools = prefix / ".tools"
    shutil.rmtree(tools, ignore_errors=True)
    tools.mkdir()
    multi = prefix / "root" / "usr" / "sbin" / "xtables-nft-multi"
    if multi.exists():
        for name in _IPTABLES:
            (tools / name).symlink_to(Path("..") / multi.relative_to(prefix))
    if (prefix / "tools").exists():
        shutil.rmtree(tools)
    else:
        tools.rename(prefix / "tools")
