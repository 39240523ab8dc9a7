"""Brings a cluster from whatever state it is in to the one that its plan says; changes nothing where nothing has to
change.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

from host.drivers.embedded import (
    addons,
    api,
    cgroups,
    configs,
    images,
    namespaces,
    ownership,
    pki,
    policies,
    programs,
    proof,
)
from host.drivers.embedded.layout import Layout, owner
from host.drivers.embedded.observe import look, node_problem
from host.drivers.embedded.parts import Parts
from host.drivers.embedded.supervise import Program, Supervisor
from host.drivers.epoch import recorded_uid, replaced
from host.system import command, files, state
from host.system.progress import step
from stacks.errors import HostError

_READY_SECONDS = 180.0
_HUNG_SECONDS = 30.0
_SYSTEM = "/api/v1/namespaces/kube-system"
_BINDINGS = {
    # The API server reads logs and forwards ports through the kubelet under this name.
    "local-ai-lab:kubelet-client": ("system:kubelet-api-admin", {"kind": "User", "name": "kube-apiserver"}),
    "local-ai-lab:admins": ("cluster-admin", {"kind": "Group", "name": pki.ADMINS}),
}
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
# What kube-network-policies reads, and all that it may.
_POLICIES_BINDING = {pki.POLICIES_USER: (pki.POLICIES_USER, {"kind": "User", "name": pki.POLICIES_USER})}
_POLICIES_RULES = [
    {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"]},
]


class Converging:
    """One run of `ensure` as root, under the cluster's lock, with all parts at hand."""

    def __init__(self, layout: Layout, parts: Parts) -> None:
        self._layout, self._parts = layout, parts
        self.changes: list[str] = []

    def run(self, epoch: int) -> None:
        """Does all of it. Raises HostError, and leaves what it made for the next run."""
        layout = self._layout
        ownership.mark(layout)
        supervisor = self._surroundings()
        self._certificates()
        rendered = configs.rendered(
            layout, pause_image=images.pause_reference(self._parts), cni_plugins=self._parts.cni_plugins
        )
        self._write(rendered, supervisor)
        wanted = programs.all_programs(layout, self._parts, rendered)
        fresh = not (layout.state / "etcd" / "member").exists()
        self._start(supervisor, [wanted[n] for n in programs.FIRST])
        self._await("API server", supervisor, wanted["kube-apiserver"], self._api_ready)
        self._await("containerd", supervisor, wanted["containerd"], self._containerd_ready)
        if fresh:
            images.forget_containers(layout, self._parts)
        self.changes += [f"imported {name}" for name in images.ensure_images(layout, self._parts)]
        self._permissions()
        self._await("system namespace", supervisor, wanted["kube-apiserver"], self._system_namespace)
        self._filter(supervisor)
        second = programs.second(layout.plan)
        self._start(supervisor, [wanted[n] for n in second])
        for name in ("etcd", *second):
            self._await(name, supervisor, wanted[name], functools.partial(self._inside_ready, name))
        self._await("node", supervisor, wanted["kubelet"], lambda: node_problem(layout))
        self._await("controllers", supervisor, wanted["kube-controller-manager"], self._controllers_ready)
        if layout.plan.network_policies:
            with step("showing that NetworkPolicies hold"):
                proof.show(layout, self._parts)
        self.changes += addons.ensure(layout)
        self._record(epoch)

    def _surroundings(self) -> Supervisor:
        layout = self._layout
        homes = cgroups.make(layout)
        if not namespaces.present(layout):
            if cgroups.processes(layout):  # they live in namespaces that nobody can enter again
                cgroups.kill(layout, seconds=15)
            with step("network and mount namespaces"):
                namespaces.make(layout)
            self.changes.append("made the namespaces")
        if namespaces.connect(layout):
            self.changes.append(f"made the link {layout.link}")
        return supervisor(layout, self._parts, homes)

    def _certificates(self) -> None:
        if pki.make(self._layout):
            self.changes.append("made certificates")

    def _write(self, rendered: dict[Path, str], supervisor: Supervisor) -> None:
        """Writes what differs. Its readers are marked first: a kill between the two leaves a restart too many, never
        one too few.
        """
        for path, text in rendered.items():
            if path.exists() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == 0o600:
                continue
            if path.exists():
                self.changes.append(f"rewrote {path.name}")
            for name in programs.readers(self._layout, path):
                supervisor.forget_digest(name)
            files.write_atomic(path, text, 0o600)

    def _filter(self, supervisor: Supervisor) -> None:
        """The rules of NetworkPolicies, before the first pod; what is left of them where the stack wants them no more
        goes.
        """
        name, mark = pki.POLICIES, self._layout.state / "network-policies"
        if self._layout.plan.network_policies:
            mark.touch()
            if policies.apply(self._layout, self._parts):
                self.changes.append("wrote the rules of NetworkPolicies")
            own, runtime = supervisor.find(name), supervisor.find("containerd")
            if own and runtime and own.started < runtime.started:  # it has lost its connection and asks for no other
                supervisor.forget_digest(name)
        elif mark.exists():
            policies.remove(self._layout, self._parts)
            supervisor.stop(name, grace=3.0)
            proof.remove(self._layout)
            for path in ("clusterrolebindings", "clusterroles"):
                with contextlib.suppress(api.ApiError):
                    api.request(self._layout, "DELETE", f"{_RBAC}/{path}/{pki.POLICIES_USER}")
            mark.unlink()
            self.changes.append("removed the rules of NetworkPolicies")

    def _start(self, supervisor: Supervisor, wanted: list[Program]) -> None:
        for program in wanted:
            running = supervisor.find(program.name)
            if running and supervisor.is_current(program) and namespaces.is_inside(self._layout, running.pid):
                continue
            if running:
                supervisor.stop(program.name, grace=programs.GRACE.get(program.name, 3.0))
            supervisor.start(program)
            self.changes.append(f"{'restarted' if running else 'started'} {program.name}")

    def _await(self, what: str, supervisor: Supervisor, program: Program, problem: Callable[[], str]) -> None:
        """Waits until `problem` finds none; starts a program again that ended meanwhile, and once one that hangs."""
        if not (last := problem()):
            return
        begin, starts = time.monotonic(), 0
        with step(f"waiting for the {what}"):
            while last:
                waited = time.monotonic() - begin
                hung = waited > _HUNG_SECONDS and starts == 0
                if waited > _READY_SECONDS or starts > 5:
                    log = f"  the end of {program.name}.log:\n{supervisor.tail(program.name)}"
                    raise HostError(
                        f"{what}: {last}\n{log}", remedy="run it again; if it stays: `lab down`, then `lab up`"
                    )
                if hung or not supervisor.find(program.name):
                    starts += 1
                    supervisor.stop(program.name, grace=3.0)
                    supervisor.start(program)
                    self.changes.append(f"restarted {program.name}")
                time.sleep(0.2)
                last = problem()

    def _api_ready(self) -> str:
        try:
            api.request(self._layout, "GET", "/readyz", seconds=3)
        except api.ApiError as error:
            return error.message
        return ""

    def _containerd_ready(self) -> str:
        try:
            images.ctr(self._layout, self._parts, "version", timeout=5)
        except command.CommandFailed as error:
            return error.message
        return ""

    def _inside_ready(self, name: str) -> str:
        return look(self._layout).get(name, "no answer")

    def _controllers_ready(self) -> str:
        """Pods are refused in a namespace until a controller has made its service account."""
        try:
            api.request(self._layout, "GET", "/api/v1/namespaces/default/serviceaccounts/default")
        except api.ApiError as error:
            return error.message
        return ""

    def _system_namespace(self) -> str:
        """The API server makes kube-system a moment after it is ready."""
        try:
            api.request(self._layout, "GET", _SYSTEM)
        except api.ApiError as error:
            return error.message
        return ""

    def _permissions(self) -> None:
        path, enforcing = f"{_RBAC}/clusterrolebindings", bool(self._layout.plan.network_policies)
        if enforcing:
            api.apply(self._layout, f"{_RBAC}/clusterroles", {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": pki.POLICIES_USER}, "rules": _POLICIES_RULES,
            })  # fmt: skip
        for name, (role, subject) in {**_BINDINGS, **(_POLICIES_BINDING if enforcing else {})}.items():
            with contextlib.suppress(api.ApiError):
                api.request(self._layout, "GET", f"{path}/{name}")
                continue
            api.apply(self._layout, path, {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{**subject, "apiGroup": "rbac.authorization.k8s.io"}],
            })  # fmt: skip
            self.changes.append(f"bound {role}")

    def _record(self, epoch: int) -> None:
        """The kubeconfig and the host state, for their reader: the user who called."""
        layout = self._layout
        text = pki.kubeconfig(layout, "admin", layout.plan.name)
        if (
            not layout.kubeconfig.exists()
            or layout.kubeconfig.read_text(encoding="utf-8") != text
            or layout.kubeconfig.stat().st_mode & 0o777 != 0o600
        ):
            files.write_atomic(layout.kubeconfig, text, 0o600)
            self.changes.append("wrote the kubeconfig")
        self._give_to_owner()
        ours, uid = recorded_uid(layout.stack), api.cluster_uid(layout)
        if ours and uid != ours:  # a healthy empty cluster where a full one was must not look like success
            raise replaced(layout.stack)
        state.record(layout.stack, epoch, uid)
        self._give_to_owner()

    def _give_to_owner(self) -> None:
        layout = self._layout
        for path in (layout.kubeconfig, state.folder(layout.stack), *state.folder(layout.stack).glob("*.json")):
            if path.exists() and path.stat().st_uid != owner()[0]:
                os.chown(path, *owner())


def supervisor(layout: Layout, parts: Parts | None, homes: list[Path]) -> Supervisor:
    """The supervisor of a cluster's daemons; without `parts` it finds and stops only."""
    return Supervisor(
        layout.run / "programs",
        layout.state / "logs",
        cgroups=homes,
        prefix=namespaces.enter(layout),
        environment=parts.environment() if parts else {},
    )
