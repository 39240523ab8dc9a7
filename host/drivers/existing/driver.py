"""`ensure`, `status` and `destroy` of somebody else's cluster: what `python -m host existing` calls."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from host.drivers import kubeconfig, ownership, specification
from host.drivers.epoch import recorded_uid
from host.drivers.existing import decide, observe
from host.drivers.existing.carry import carried
from host.drivers.existing.observe import Observed, Unauthorized, Unreachable
from host.drivers.existing.refusal import Refusal, refused
from host.system import files, state
from host.system.progress import step
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import HostError
from stacks.plan import ExistingPlan

_PROBE_SECONDS: Final = 10.0  # a credential plugin and another continent may be between
_REMOVAL_SECONDS: Final = 600.0


@dataclass(frozen=True)
class Target:
    """One stack in its cluster."""

    stack: str
    plan: ExistingPlan

    @property
    def owner(self) -> str:
        """What marks the namespace as this checkout's."""
        return ownership.checkout(self.stack)

    @property
    def kubeconfig(self) -> Path:
        """The stack's own copy."""
        return Path(self.plan.kubeconfig).expanduser()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Target:
        """From LAB_STACK and LAB_SPEC. Raises HostError."""
        return cls(*specification.read(environment, ExistingPlan, what="cluster of somebody else"))


def ensure(environment: Mapping[str, str]) -> None:
    """The cluster can take the stack afterwards, and the stack has a kubeconfig; nothing of the cluster is changed.
    Prints one JSON line. Raises HostError with everything that stands in the way.
    """
    target = Target.read(environment)
    changed = []
    with files.lock(state.folder(target.stack) / "existing.lock", what=f"stack {target.stack}"):
        text, seen_uid, notes = _checked(target)
        if kubeconfig.write(target.kubeconfig, text):
            changed.append("wrote the kubeconfig")
        ownership.keep_checkout(target.stack, target.owner)
        state.record(target.stack, int(environment.get("LAB_EPOCH", "0")), seen_uid)
    _say({"cluster": target.plan.name, "kubeconfig": target.plan.kubeconfig, "changed": changed, "notes": notes})


def status(environment: Mapping[str, str]) -> None:
    """Prints whether the cluster answers and the stack's namespace is there, as JSON; changes nothing."""
    target = Target.read(environment)
    summary, problems = _summary(target)
    _say({
        "cluster": target.plan.name, "state": summary, "problems": problems, "namespace": target.plan.namespace,
        "kubeconfig": target.plan.kubeconfig, "epoch": state.epoch(target.stack),
    })  # fmt: skip


def destroy(environment: Mapping[str, str]) -> None:
    """The stack's namespace is gone, if it is this stack's, and so is what the machine remembers; the cluster and all
    else in it stay. Raises HostError where the cluster does not answer.
    """
    target = Target.read(environment)
    with files.lock(state.folder(target.stack) / "existing.lock", what=f"stack {target.stack}"):
        removed, left = _removed(target)
        target.kubeconfig.unlink(missing_ok=True)
        # Another run that makes it anew must know whether there was one.
        uid = "" if specification.by_stack(environment) else recorded_uid(target.stack) or ""
        state.record(target.stack, state.epoch(target.stack), uid)
    _say({"cluster": target.plan.name, "removed": removed, "left": left})


def prepare(stack: str, plan: ExistingPlan) -> list[Callable[[], object]]:
    """Nothing is fetched; the cluster is checked before anything is. Raises HostError."""
    _checked(Target(stack, plan))
    return []


def probe_seconds() -> float:
    """How long the look before each run may take."""
    return _PROBE_SECONDS


def is_alive(stack: str) -> bool:
    """Whether the cluster has no namespace of the stack's name that is somebody else's: then the bootstrap runs again,
    and refuses.
    """
    space = names.namespace(stack)
    try:
        text = Path(names.kubeconfig(stack)).expanduser().read_text(encoding="utf-8")
        found = observe.whose(observe.connect(text), space)[1]
    except (OSError, Unreachable, Unauthorized):
        return False
    return found is None or (found.stack, found.owner) == (stack, ownership.checkout(stack))


def stands(stack: str) -> bool:
    """Whether the stack was begun in a cluster: its kubeconfig is there."""
    return Path(names.kubeconfig(stack)).expanduser().exists()


def refuse_removal(stack: str, plan: ExistingPlan) -> None:
    """Raises HostError where a removal of the stack's objects by their names would meet somebody else's."""
    target = Target(stack, plan)
    if not target.kubeconfig.exists():
        return
    if found := _foreign(target, *_known(target)):
        raise HostError(f"{found.reason}: nothing was removed", remedy=found.remedy)


def seen_by_layer(stack: str, plan: ExistingPlan) -> tuple[Observed, dict[str, list[Refusal]]]:
    """What is there, and what stands in the way by what was looked at: for `lab doctor`. Raises HostError where the
    cluster does not answer.
    """
    target = Target(stack, plan)
    _, seen = _looked(target)
    return seen, decide.layers(seen, plan, stack, target.owner)


def _looked(target: Target) -> tuple[str, Observed]:
    """The kubeconfig's text, and what it leads to. Raises HostError."""
    plan, stack = target.plan, target.stack
    source = Path(plan.source_kubeconfig).expanduser()
    text, problems = carried(source, plan.context, name=names.namespace(stack), stack=stack)
    if problems:
        raise refused(plan.context, problems)
    try:
        return text, observe.look(observe.connect(text), plan)
    except (Unreachable, Unauthorized) as error:
        raise _silent(error, target) from None


def _checked(target: Target) -> tuple[str, str, list[str]]:
    """The kubeconfig's text, the cluster's UID, and what could not be seen. Raises HostError."""
    plan, stack = target.plan, target.stack
    with step(f"looking at the cluster of context {plan.context}"):
        text, seen = _looked(target)
    found = decide.another_cluster(seen.uid, recorded_uid(stack), plan, stack)
    if refusals := [found] if found else decide.refusals(seen, plan, stack, target.owner):
        raise refused(plan.context, refusals)
    notes = decide.notes(seen, plan)
    for note in notes:
        sys.stderr.write(f"  {note}\n")
    return text, seen.uid, notes


def _silent(error: Exception, target: Target) -> HostError:
    """What is said of a cluster that does not answer, or does not know who asks."""
    context, again = target.plan.context, f"then: ./lab up {target.stack}"
    if isinstance(error, Unauthorized):
        found = Refusal(f"context {context}: {error}", error.remedy or f"log in to the cluster again; {again}")
    else:
        said = f"the API server of context {context} does not answer: {error}"
        found = Refusal(said, f"check VPN and proxy: kubectl --context {context} get --raw /readyz; {again}")
    return refused(context, [found])


def _known(target: Target) -> tuple[str, observe.Space | None]:
    """What the copied kubeconfig leads to. Raises HostError where nothing answers there."""
    try:
        return observe.whose(_api(target), target.plan.namespace)
    except (Unreachable, Unauthorized) as error:
        raise _silent(error, target) from None


def _foreign(target: Target, uid: str, space: observe.Space | None) -> Refusal | None:
    """Why what answers there is not what the stack was made in; None where it is, and where nothing is left of it."""
    found = decide.another_cluster(uid, recorded_uid(target.stack), target.plan, target.stack)
    return found or decide.foreign(space, target.plan, target.stack, target.owner)


def _api(target: Target) -> KubernetesApi:
    return observe.connect(target.kubeconfig.read_text(encoding="utf-8"))


def _removed(target: Target) -> tuple[bool, str]:
    """Whether the namespace was removed, and what was left alone and why."""
    plan, stack = target.plan, target.stack
    if not target.kubeconfig.exists():
        return False, ""
    uid, space = _known(target)
    found = _foreign(target, uid, space)
    if found or space is None:
        return False, found.reason if found else ""
    try:
        with step(f"removing namespace {plan.namespace}"):
            observe.remove(_api(target), plan.namespace, space, seconds=_REMOVAL_SECONDS)
    except (Unreachable, Unauthorized) as error:
        raise _silent(error, target) from None
    except TimeoutError:
        raise HostError(
            f"namespace {plan.namespace} is still being deleted after {_REMOVAL_SECONDS:.0f} s",
            remedy=f"kubectl get namespace {plan.namespace} -o yaml says what holds it; then: ./lab down {stack}",
        ) from None
    return True, ""


def _summary(target: Target) -> tuple[str, dict[str, str]]:
    plan, stack = target.plan, target.stack
    if not target.kubeconfig.exists():
        return "absent", {}
    try:
        uid, space = observe.whose(_api(target), plan.namespace)
    except (Unreachable, Unauthorized) as error:
        silent = _silent(error, target)
        kind = "unauthorized" if isinstance(error, Unauthorized) else "unreachable"
        return kind, {"cluster": f"{silent.message}; {silent.remedy}"}
    if found := _foreign(target, uid, space):
        return "foreign", {"cluster": f"{found.reason}; {found.remedy}"}
    if space is None or space.going:
        return "lost", {"namespace": f"{plan.namespace} is not there; ./lab up {stack} makes it again"}
    return "running", {}


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
