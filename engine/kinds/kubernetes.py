"""`kubernetes:<group>/<version>:<Kind>`: any Kubernetes object, custom resources included."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from engine import diff
from engine.diff import Change, Path, PropertyDiff
from engine.errors import EngineError
from engine.kinds.base import Subject
from engine.kinds.force_new import CLUSTER_SCOPED, force_new
from engine.kinds.quantity import canonicalize
from engine.state import Resource
from engine.wire import BLINDED, UNKNOWN, Secret, Value, has_secret, has_unknown, plain

_AUTONAMED = "pulumi.com/autonamed"
_READ_ONLY = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)
_BUILT_IN = frozenset(
    ["", "apps", "autoscaling", "batch", "extensions", "policy"]
    + [
        f"{group}.k8s.io"
        for group in [
            "admissionregistration",
            "apiextensions",
            "apiregistration",
            "certificates",
            "coordination",
            "discovery",
            "events",
            "flowcontrol.apiserver",
            "networking",
            "node",
            "rbac.authorization",
            "resource",
            "scheduling",
            "settings",
            "storage",
            "storagemigration",
        ]
    ]
)


class KubernetesObject:
    """An object applied server-side; no cluster is asked in a preview."""

    applied_by_cli_only = False

    def check(self, subject: Subject, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:
        """Gives the object its name and namespace and the form in which the provider compares it."""
        checked: dict[str, Any] = _normalize(plain(inputs))
        if checked.get("metadata") == UNKNOWN:
            return inputs
        metadata = checked["metadata"] = {k: v for k, v in (checked.get("metadata") or {}).items() if k not in _READ_ONLY}
        before = plain((old or {}).get("inputs", {})).get("metadata", {})
        if not metadata.get("name"):
            if metadata.get("generateName"):
                raise EngineError(f"{subject.name}: metadata.generateName does not work with server-side apply", remedy="set metadata.name")
            if before.get("annotations", {}).get(_AUTONAMED) == "true":
                metadata["name"] = before["name"]
            else:
                # Pulumi draws a random name; a preview should read the same each time, and a replacement needs a new name.
                seed = f"{subject.urn}{subject.replaced_id}".encode()
                metadata["name"] = f"{subject.name}-{hashlib.sha256(seed).hexdigest()[:8]}"
            metadata["annotations"] = {**(metadata.get("annotations") or {}), _AUTONAMED: "true"}
        namespace = subject.options.get("namespace")
        if isinstance(namespace, str) and namespace not in ("", UNKNOWN) and not metadata.get("namespace") and _namespaced(checked):
            metadata["namespace"] = namespace
        marked: dict[str, Any] = mark_secrets(checked, inputs)
        return marked

    def diff(self, subject: Subject, old: Resource, inputs: dict[str, Any]) -> Change:
        """Compares with the recorded live object, as far as the recorded inputs speak of it."""
        recorded, live = old.get("inputs", {}), old.get("outputs", {})
        before = _prune(live, recorded) if (live.get("metadata") or {}).get("name") else recorded
        before, after = _comparable(before, inputs), _comparable(inputs, inputs)
        fields = force_new(
            plain(inputs), secret_mutable=subject.option("enableSecretMutable"), config_map_mutable=subject.option("enableConfigMapMutable")
        )
        patterns = [diff.parse_path(field) for field in fields]
        detailed, opened = {}, plain(after)
        for path, kind in diff.compare(before, after).items():
            replaces = any(_touches(pattern, path, opened) for pattern in patterns)
            detailed[diff.render_path(path)] = PropertyDiff(kind, replaces, input_diff=kind == "delete")
        replace_keys = tuple(sorted(path for path, item in detailed.items() if item.replace))
        return Change(detailed, replace_keys=replace_keys, delete_first=bool(replace_keys) and _same_name(live or recorded, inputs))

    def outputs(self, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:
        """The inputs, for an update laid over what the cluster is known to have added."""
        merged: dict[str, Any] = _merge(old.get("outputs", {}), inputs) if old else inputs
        return merged


def _namespaced(inputs: Mapping[str, Any]) -> bool:
    return inputs.get("kind") not in CLUSTER_SCOPED


def _normalize(inputs: dict[str, Any]) -> dict[str, Any]:
    """What the provider's typed conversion does to built-in kinds, where it is known without the types."""
    group = str(inputs.get("apiVersion", "")).rpartition("/")[0]
    if has_unknown(inputs) or group not in _BUILT_IN:
        return inputs
    if inputs.get("kind") == "Secret" and group == "" and inputs.get("stringData"):
        encoded = {k: v if v == BLINDED else base64.b64encode(str(v).encode()).decode() for k, v in inputs["stringData"].items()}
        rest = {key: value for key, value in inputs.items() if key != "stringData"}
        return {**rest, "data": {**(inputs.get("data") or {}), **encoded}}
    if inputs.get("kind") == "CustomResourceDefinition":
        return {key: value for key, value in inputs.items() if key != "status"}
    canonical: dict[str, Any] = canonicalize(inputs)
    return canonical


def mark_secrets(checked: Value, inputs: Value) -> Value:
    """Carries secretness from the program's inputs over to the checked ones: whole data of a Secret, whole lists, single values."""
    if not isinstance(checked, Mapping):
        return Secret(checked) if has_secret(inputs) else checked
    if checked.get("kind") == "Secret":
        return {key: Secret(value) if key in ("data", "stringData") else value for key, value in checked.items()}
    if isinstance(inputs, Secret):
        return Secret(checked)
    return {key: mark_secrets(value, inputs[key]) if key in inputs else value for key, value in checked.items()}


def _prune(live: Value, shape: Value) -> Value:
    """The part of a live object that the inputs speak of: the rest belongs to the cluster."""
    if isinstance(live, Mapping) and isinstance(shape, Mapping):
        return {key: _prune(live[key], item) for key, item in shape.items() if key in live}
    if isinstance(live, list) and isinstance(shape, list):
        return [_prune(*pair) for pair in zip(live, shape, strict=False)]
    return live


def _comparable(value: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """An unset namespace is `default`, and no namespace counts for what has none."""
    metadata = dict(value.get("metadata") or {})
    namespace = metadata.pop("namespace", None) or "default"
    return {**value, "metadata": {**metadata, "namespace": namespace} if _namespaced(inputs) else metadata}


def _touches(pattern: Path, path: Path, after: Value) -> bool:
    """Whether a change at `path` is one of what `pattern` names, also where a whole parent was added with it inside."""
    if diff.covers(pattern, path):
        return True
    return diff.covers(path, pattern) and any(diff.covers(pattern, leaf) for leaf in _leaves(after, ()) if diff.covers(path, leaf))


def _leaves(value: Value, path: Path) -> Iterator[Path]:
    yield path
    if isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _leaves(item, (*path, key))


def _same_name(old: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
    """Whether the replacement would collide with the old object, so that this one has to go first."""
    before, after = plain(old.get("metadata", {})), plain(inputs.get("metadata", {}))
    if after.get("annotations", {}).get(_AUTONAMED) == "true":
        return False
    return before.get("name") == after.get("name") and (before.get("namespace") or "") == (after.get("namespace") or "")


def _merge(base: Value, over: Value) -> Value:
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: _merge(base.get(key), item) for key, item in over.items()}}
    return over
