"""Brings a profile from whatever state it is in to the one that its plan says, one decided step after another."""

from __future__ import annotations

import time
from collections import Counter

from host.drivers import kubeconfig, ownership
from host.drivers.epoch import cluster_uid, recorded_uid, replaced
from host.drivers.minikube import decide, failures
from host.drivers.minikube.alive import ready
from host.drivers.minikube.decide import Action
from host.drivers.minikube.observe import Observed, look
from host.drivers.minikube.tools import Tools
from host.drivers.minikube.wanted import Wanted
from host.drivers.ownership import Mark, Owner
from host.system import state
from host.system.progress import step
from probes.kubernetes_api import KubernetesApi
from stacks.errors import HostError

_TRIES = 2  # of the same step in one run
_READY_SECONDS = 300.0
_API_SECONDS = 5.0


class Converging:
    """One run of `ensure`, under the profile's lock."""

    def __init__(self, wanted: Wanted, tools: Tools, ours: Owner) -> None:
        self._wanted, self._tools, self._ours = wanted, tools, ours
        self._mark_file = ownership.mark_file(wanted.plan.driver, wanted.profile)
        self.changes: list[str] = []

    def run(self, epoch: int) -> None:
        """Does all of it. Raises HostError, and leaves what it made for the next run."""
        taken: Counter[str] = Counter()
        while True:
            seen = look(self._wanted, self._tools)
            action = decide.decide(seen, self._wanted, self._ours, restarted=taken["restart"] > 0)
            if action.kind == "refuse":
                raise HostError(action.reason, remedy=action.remedy)
            if action.kind == "keep":
                break
            taken[action.kind] += 1
            if taken[action.kind] > _TRIES:
                raise HostError(
                    f"profile {self._wanted.profile} does not settle: {action.reason}",
                    remedy=f"minikube logs -p {self._wanted.profile} says more; if it stays: ./lab down "
                    f"{self._wanted.stack}, then ./lab up {self._wanted.stack}",
                )
            with step(f"profile {self._wanted.profile}: {action.reason}; {_DOES[action.kind]}"):
                self._take(action, seen)
            self.changes.append(f"{action.kind}: {action.reason}")
        if seen.sees_gpu is False:
            raise failures.gpu_lost(self._wanted, seen.problem)
        self._finish(seen, epoch)

    def _take(self, action: Action, seen: Observed) -> None:
        tools, mark = self._tools, seen.mark
        if action.kind == "create":
            ownership.write(self._mark_file, Mark(self._ours))
            tools.start()
        elif action.kind == "start":
            self._start(complete=mark is not None and mark.complete)
        elif action.kind == "restart":
            tools.stop()
            tools.start()
        elif action.kind == "resize":
            tools.resize()
        elif action.kind == "addons":
            for addon in self._wanted.plan.disabled_addons:
                tools.disable(addon)
        else:
            remove(self._wanted, tools, self._ours, seen)
            ownership.write(self._mark_file, Mark(self._ours))

    def _start(self, *, complete: bool) -> None:
        """Starts it. One that was never whole and does not come up is made from nothing once, which loses nothing."""
        try:
            self._tools.start()
        except failures.MinikubeFailed as error:
            if complete or not error.guest:
                raise
            ownership.write(self._mark_file, Mark(self._ours, removing=True))
            self.changes.append("start failed on a half made profile: begun again")

    def _finish(self, seen: Observed, epoch: int) -> None:
        """The kubeconfig, both marks and the record, for a profile that runs as planned."""
        wanted = self._wanted
        text = kubeconfig.single(wanted.tool_kubeconfig, name=wanted.profile, context=wanted.profile)
        if kubeconfig.write(wanted.kubeconfig, text):
            self.changes.append("wrote the kubeconfig")
        api = KubernetesApi.from_kubeconfig(str(wanted.kubeconfig), stack=wanted.stack, timeout=_API_SECONDS)
        self._await_nodes(api)
        if ownership.mark_inside(api, self._ours):
            self.changes.append("marked the cluster as this stack's")
        identity = seen.container.id if seen.container else ""
        ownership.write(self._mark_file, Mark(self._ours, complete=True, identity=identity))
        uid, ours = cluster_uid(wanted.stack), recorded_uid(wanted.stack)
        if uid is None:
            raise HostError(
                f"the API server of profile {wanted.profile} went away", remedy=f"./lab up {wanted.stack} goes on"
            )
        if ours and uid != ours:  # a healthy empty cluster where a full one was must not look like success
            raise replaced(wanted.stack)
        state.record(wanted.stack, epoch, uid)

    def _await_nodes(self, api: KubernetesApi) -> None:
        begin = time.monotonic()
        while not ready(api):
            if time.monotonic() - begin > _READY_SECONDS:
                raise HostError(
                    f"the node of profile {self._wanted.profile} does not become ready",
                    remedy=f"minikube logs -p {self._wanted.profile} says more; then ./lab up {self._wanted.stack}",
                )
            time.sleep(1.0)


_DOES = {
    "create": "making it",
    "start": "starting it",
    "restart": "stopping and starting it",
    "resize": "changing the limits of its node",
    "addons": "switching add-ons off",
    "recreate": "removing what is left of it",
}


def remove(wanted: Wanted, tools: Tools, ours: Owner, seen: Observed) -> None:
    """Deletes what is this stack's; the mark says first that it goes. Raises HostError where some is left."""
    path = ownership.mark_file(wanted.plan.driver, wanted.profile)
    identity = seen.mark.identity if seen.mark else ""
    ownership.write(path, Mark(ours, identity=identity, removing=True))
    tools.delete()
    if look(wanted, tools).anything:
        raise HostError(
            f"minikube delete left something of profile {wanted.profile}",
            remedy=f"minikube delete -p {wanted.profile} once more; docker ps -a shows its container",
        )
