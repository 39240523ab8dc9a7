"""What `up` would do where a stack runs already: the objects and Commands of two plans, compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from components import rendered
from stacks.plan import Plan

Op = Literal["create", "update", "replace", "delete", "same"]
_COMMAND = "Command"

_OF_CONTROLLERS = (
    "BackendTrafficPolicy", "ClientTrafficPolicy", "EnvoyExtensionPolicy", "EnvoyPatchPolicy", "EnvoyProxy", "Gateway",
    "GatewayClass", "HTTPRoute", "HTTPRouteFilter", "SecurityPolicy",
)  # fmt: skip

IMMUTABLE: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(_OF_CONTROLLERS, ()),
    "ClusterRole": (),
    "ClusterRoleBinding": ("roleRef",),
    "ConfigMap": (),
    "CustomResourceDefinition": (),
    "DaemonSet": ("spec.selector",),
    "Deployment": ("spec.selector",),
    "Job": ("spec.selector", "spec.template"),
    "Namespace": (),
    "NetworkPolicy": (),
    "PersistentVolume": ("spec.local",),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"),
    "PodDisruptionBudget": (),
    "Release": (),
    "Role": (),
    "RoleBinding": ("roleRef",),
    "RuntimeClass": ("handler",),
    "Secret": ("type",),
    "Service": ("spec.clusterIP",),
    "ServiceAccount": (),
    "StorageClass": ("parameters", "provisioner"),
}
"""The fields whose change replaces an object of ours: pulumi-kubernetes 4.34, provider/pkg/provider/diff.go."""

_ALWAYS = ("metadata.name", "metadata.namespace")  # the same source, for every kind


@dataclass(frozen=True)
class Effect:
    """What happens to one resource, under its name in the program, and what a reviewer must know about it."""

    op: Op
    name: str
    kind: str
    note: str = ""


def effects(before: Plan, after: Plan) -> list[Effect]:
    """One entry for every resource of either plan, unchanged ones too: objects, then Commands, then what goes."""
    olds, news = _resources(before), _resources(after)
    found = [_effect(name, olds.get(name), thing) for name, thing in news.items()]
    return [*found, *(_effect(name, thing, None) for name, thing in reversed(olds.items()) if name not in news)]


def _resources(plan: Plan) -> dict[rendered.Name, Mapping[str, Any]]:
    commands = {rendered.Name(_COMMAND, name): vars(command) for name, command in rendered.commands(plan).items()}
    releases = {rendered.Name("Release", name): told for name, told in rendered.releases(plan).items()}
    return {**rendered.objects(plan), **releases, **commands}


def _effect(name: rendered.Name, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Effect:
    op = _op(name.kind, old, new)
    return Effect(op, name.name, name.kind, "" if op == "same" else _note(name, op, old, new))


def _op(kind: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Op:
    if old is None:
        return "create"
    if new is None:
        return "delete"
    if old == new:
        return "same"
    fields = ("triggers",) if kind == _COMMAND else (*_ALWAYS, *IMMUTABLE[kind])
    return "replace" if any(_at(old, path) != _at(new, path) for path in fields) else "update"


def _note(name: rendered.Name, op: Op, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    """What the operation alone does not say."""
    if name.kind == _COMMAND:
        if new is not None:
            return f"`{new['runs']}` runs on the machine"
        return "the weights stay in the cache" if name.name.endswith("-weights") else ""
    if name.kind in ("Deployment", "DaemonSet") and op == "update":
        return "its pods are restarted" if _at(old or {}, "spec.template") != _at(new or {}, "spec.template") else ""
    if name.kind == "PersistentVolumeClaim" and op in ("replace", "delete") and not _at(old or {}, "spec.volumeName"):
        return "the weights in it go with it" + (", and are fetched again" if op == "replace" else "")
    if name.kind == "PersistentVolume" and op in ("replace", "delete"):
        return "the folder and the weights in it stay"
    return ""


def _at(thing: Mapping[str, Any], path: str) -> Any:
    found: Any = thing
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
