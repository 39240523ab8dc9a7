"""What to do next about a profile: a pure function of what is there and what is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from host.drivers.minikube.observe import Observed, Profile, image_tag
from host.drivers.minikube.wanted import Wanted
from host.drivers.ownership import Owner

Kind = Literal["create", "start", "restart", "resize", "addons", "recreate", "keep", "refuse"]
_NO_MARK_INSIDE = "it was replaced by somebody else's: the cluster in it does not carry this stack's mark"


@dataclass(frozen=True)
class Action:
    """One step, and why. After each one the profile is looked at again, until there is nothing more to do.

    `recreate` deletes what a killed run left half made or half removed, and nothing that was ever whole.
    """

    kind: Kind
    reason: str
    remedy: str = ""


def decide(seen: Observed, wanted: Wanted, ours: Owner, *, restarted: bool = False) -> Action:
    """The next step towards a running profile as it is wanted; `restarted`: this run stopped and started it once."""
    if refusal := foreign(seen, wanted, ours):
        return refusal
    if seen.mark is not None and (seen.mark.removing or (not seen.mark.complete and seen.anything)):
        return _unfinished(seen, wanted)
    if not seen.anything:
        return Action("create", "there is no profile")
    return _whole(seen, wanted, restarted=restarted)


def foreign(seen: Observed, wanted: Wanted, ours: Owner) -> Action | None:
    """The refusal where what is there is not this stack's, or cannot be told; None where it may be changed."""
    name, mark = wanted.profile, seen.mark
    if mark is not None and not mark.owner.is_ours(ours):
        return Action(
            "refuse",
            f"profile {name} belongs to stack {mark.owner.stack} of {mark.owner.project}",
            f"./lab down {mark.owner.stack} there, or another cluster.profile in Pulumi.{wanted.stack}.yaml",
        )
    if not seen.anything:
        return None
    if mark is None:
        return _not_ours(wanted, f"{_what(seen, wanted)} is there and was not made by stack {wanted.stack}")
    if seen.answered and seen.inside is not None and not seen.inside.is_ours(ours):
        owner = seen.inside
        return _not_ours(wanted, f"the cluster in profile {name} belongs to stack {owner.stack} of {owner.project}")
    if mark.complete and seen.answered and seen.inside is None:
        return _not_ours(wanted, f"profile {name}: {_NO_MARK_INSIDE}")
    if not seen.answered and mark.identity and seen.container and seen.container.id != mark.identity:
        return Action(
            "refuse",
            f"profile {name} has another node than the one that stack {wanted.stack} made, and it does not run, so "
            "that it cannot say whose it is",
            f"minikube start -p {name}; then ./lab up {wanted.stack}",
        )
    return None


def _not_ours(wanted: Wanted, reason: str) -> Action:
    return Action(
        "refuse",
        reason,
        f"write another cluster.profile in Pulumi.{wanted.stack}.yaml, or, if nobody needs it any more: "
        f"minikube delete -p {wanted.profile}",
    )


def _what(seen: Observed, wanted: Wanted) -> str:
    if seen.profile is not None:
        return f"profile {wanted.profile}"
    return f"a container of Docker called {wanted.profile}"


def _unfinished(seen: Observed, wanted: Wanted) -> Action:
    """A run was killed while it made or removed the profile: nothing in it was ever used, or is needed any more."""
    assert seen.mark is not None  # noqa: S101  (the caller asks for it)
    if seen.mark.removing:
        return Action("recreate", "its removal was begun and not finished")
    if seen.profile is None or seen.profile == Profile.parse({}):
        return Action("recreate", "only a part of it was made")
    if differences := drift(seen, wanted):
        return Action(
            "refuse",
            f"profile {wanted.profile} is half made, and not as it is planned now: {'; '.join(differences)}",
            f"minikube delete -p {wanted.profile}; then ./lab up {wanted.stack}",
        )
    if seen.container is not None and not seen.container.gpu:
        return Action("recreate", "its node was made without a GPU")
    if seen.state != "running":
        return Action("start", "it is half made")
    return _whole(seen, wanted, restarted=False)


def _whole(seen: Observed, wanted: Wanted, *, restarted: bool) -> Action:
    if seen.profile is None:
        return _anew(wanted, f"minikube's record of profile {wanted.profile} is gone ({wanted.config})")
    if differences := [*drift(seen, wanted), *_node_drift(seen, wanted)]:
        return _anew(
            wanted, f"profile {wanted.profile} differs in what only acts when it is made: {'; '.join(differences)}"
        )
    if step := _kubernetes(seen.profile, wanted):
        return step
    if seen.container is None:
        return Action("start", "the node's container is gone; its data is in a volume that is still there")
    if seen.state != "running":
        return Action("start", f"it is {seen.state}")
    if not seen.answered:
        return Action("start", f"its API server does not answer: {seen.problem}")
    if seen.sees_gpu is False and not restarted:
        return Action("restart", "the node does not see the GPU that it was made with")
    if sizes := _sizes(seen, wanted):
        return Action("resize", "; ".join(sizes))
    if on := [name for name in wanted.plan.disabled_addons if name in seen.profile.addons]:
        return Action("addons", f"{', '.join(on)} would register the same GPU as our own device plugin")
    return Action("keep", "it runs as it is planned")


def _anew(wanted: Wanted, reason: str) -> Action:
    return Action(
        "refuse",
        reason,
        f"./lab down {wanted.stack}, then ./lab up {wanted.stack} (images are pulled again; weights in "
        f"{wanted.folder} stay)",
    )


def drift(seen: Observed, wanted: Wanted) -> list[str]:
    """What minikube recorded and the plan wants otherwise, of the flags that only act when a profile is made."""
    if seen.profile is None:
        return []
    has, plan = seen.profile, wanted.plan
    pairs = (
        ("driver", has.driver, "docker"),
        ("container runtime", has.runtime, "docker"),
        ("GPUs", has.gpus or "none", plan.gpus if has.gpus != "nvidia.com" else "nvidia.com"),
        ("network", has.cni or "minikube's own", plan.cni),
        ("mounted folder", has.mount or "none", wanted.mount),
        ("node image", image_tag(has.base_image) or "none", image_tag(plan.base_image)),
    )
    return [f"{what} {is_there}, planned {planned}" for what, is_there, planned in pairs if is_there != planned]


def _node_drift(seen: Observed, wanted: Wanted) -> list[str]:
    """What the node's container lacks, whatever minikube recorded: flags are recorded even where they did not act."""
    if seen.container is None:
        return []
    found = []
    if not seen.container.gpu:
        found.append("the node's container was made without a GPU")
    # Docker Desktop rewrites the machine's side of a bind; minikube's record has it as it was given
    if wanted.plan.mounted_at not in [bind.split(":")[1] for bind in seen.container.binds if ":" in bind]:
        found.append(f"the node's container does not mount {wanted.folder}")
    if missing := sorted(set(wanted.plan.ports) - seen.container.ports):
        found.append(f"ports {', '.join(map(str, missing))} are not published")
    return found


def _kubernetes(has: Profile, wanted: Wanted) -> Action | None:
    """Upgrades by one minor version at most, as kubeadm does them; a downgrade is never possible in place."""
    if has.kubernetes == wanted.plan.kubernetes:
        return None
    old, new = _version(has.kubernetes), _version(wanted.plan.kubernetes)
    if old < new and new[:1] == old[:1] and new[1] - old[1] <= 1:
        return Action("start", f"Kubernetes {has.kubernetes} becomes {wanted.plan.kubernetes}")
    return _anew(
        wanted,
        f"profile {wanted.profile} has Kubernetes {has.kubernetes or 'of an unknown version'}, planned "
        f"{wanted.plan.kubernetes}, which cannot be reached from it in one step",
    )


def _sizes(seen: Observed, wanted: Wanted) -> list[str]:
    """Limits of the node's container that differ; 0 says that Docker keeps none, as on machines without that cgroup."""
    if seen.container is None:
        return []
    has, plan = seen.container, wanted.plan
    found = []
    if has.memory_mib and has.memory_mib != plan.memory_mib:
        found.append(f"memory {has.memory_mib} MiB becomes {plan.memory_mib}")
    if has.cpus and has.cpus != plan.cpus:
        found.append(f"processors {has.cpus:g} become {plan.cpus}")
    return found


def _version(text: str) -> tuple[int, ...]:
    """Major, minor and patch; what is no number is 0."""
    parts = text.removeprefix("v").split("-")[0].split(".")
    return tuple(int(part) if part.isdecimal() else 0 for part in (*parts, "", "")[:3])
