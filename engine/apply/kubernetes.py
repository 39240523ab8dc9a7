"""Kubernetes objects: server-side apply, readiness, deletion."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from engine.apply import ownership, readiness
from engine.apply.cluster import ApiError, Cluster, is_conflict
from engine.apply.handler import Made, Outputs, Task
from engine.apply.interrupt import Interrupt, InterruptedRunError
from engine.apply.kubeconfig import read_access, text_of
from engine.errors import EngineError
from engine.kinds.kubernetes import mark_secrets
from engine.state import Resource
from engine.wire import plain

_PAUSE: Final = 0.5
_MANAGER: Final = "__fieldManager"


class Clusters:
    """The clusters of one run, by the content of their kubeconfig: a rewritten one is another client."""

    def __init__(self, interrupt: Interrupt, folder: Path) -> None:
        self._interrupt, self._folder = interrupt, folder
        self._known: dict[tuple[str, str], Cluster] = {}
        self._lock = threading.Lock()

    def of(self, options: Mapping[str, Any]) -> Cluster:
        """The cluster that a provider's inputs name."""
        options = plain(options)
        setting, context = str(options.get("kubeconfig") or ""), str(options.get("context") or "")
        if not setting:
            raise EngineError("the Kubernetes provider names no kubeconfig", remedy="set kubeconfig on the provider")
        text = text_of(setting, self._folder)
        with self._lock:
            if (text, context) not in self._known:
                self._known[text, context] = Cluster(read_access(text, context), self._interrupt)
            return self._known[text, context]

    def close(self) -> None:
        """Closes all connections."""
        for cluster in self._known.values():
            cluster.close()


class Objects:
    """Any Kubernetes object of the closed list, on clusters with the lab's mark."""

    def __init__(self, clusters: Clusters, interrupt: Interrupt) -> None:
        self._clusters, self._interrupt = clusters, interrupt

    def prepare(self, task: Task) -> Outputs:
        """The field manager, by which a later run knows the object of a killed one."""
        return {_MANAGER: task.hint.get(_MANAGER) or ownership.new_manager()}

    def create(self, task: Task, noted: Outputs) -> Made:
        """Applies it; one that is there already is taken over where it is ours, and refused otherwise."""
        cluster, inputs = self._clusters.of(task.options), plain(task.inputs)
        cluster.require_mark()
        path, manager = self._path(cluster, inputs), str(noted[_MANAGER])
        live = self._gone_or_live(task, cluster, path)
        if live is None:
            return self._apply(task, cluster, path, inputs, manager)
        if not ownership.is_ours(live, inputs, manager):
            remedy = "look at it, and delete it if nobody needs it"
            raise EngineError(f"{inputs['kind']} {live['metadata']['name']} is there already and is not ours", remedy=remedy)
        task.talk.say("note", "was there already: taken over")
        known = manager if manager in ownership.managers(live) else ownership.adopted_manager(live)
        return self._update(task, cluster, path, inputs, known)

    def update(self, task: Task, old: Resource) -> Made:
        """Applies the new inputs with the field manager that the state names."""
        cluster, inputs = self._clusters.of(task.options), plain(task.inputs)
        cluster.require_mark()
        manager = str(plain(old.get("outputs", {})).get(_MANAGER) or ownership.new_manager())
        return self._update(task, cluster, self._path(cluster, inputs), inputs, manager)

    def delete(self, task: Task, old: Resource, *, unsure: bool) -> None:
        """Deletes what is ours and waits until it is gone; another object of the same name is left alone."""
        cluster, inputs, outputs = self._clusters.of(task.options), plain(task.inputs), plain(old.get("outputs", {}))
        cluster.require_mark()
        path = self._path(cluster, inputs)
        live = cluster.get(path)
        uid = (outputs.get("metadata") or {}).get("uid")
        if live is None:
            return
        if (uid and live["metadata"]["uid"] != uid) or (unsure and not ownership.is_ours(live, inputs, str(outputs.get(_MANAGER, "")))):
            task.talk.say("note", "is another object by now: left alone")
            return
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": live["metadata"]["uid"]}}
        try:
            cluster.delete(path, options)
        except ApiError as error:
            if not is_conflict(error):  # somebody else was quicker
                raise
        self._wait_gone(task, cluster, path, live["metadata"]["uid"])

    def exists(self, task: Task, old: Resource) -> bool:
        """Whether the very object of the state is still in the cluster."""
        cluster = self._clusters.of(task.options)
        live = cluster.get(self._path(cluster, plain(task.inputs)))
        uid = (plain(old.get("outputs", {})).get("metadata") or {}).get("uid")
        return live is not None and (not uid or live["metadata"]["uid"] == uid)

    def _path(self, cluster: Cluster, inputs: Mapping[str, Any]) -> str:
        metadata = inputs["metadata"]
        return cluster.path(str(inputs["apiVersion"]), str(inputs["kind"]), str(metadata.get("namespace") or ""), str(metadata["name"]))

    def _gone_or_live(self, task: Task, cluster: Cluster, path: str) -> dict[str, Any] | None:
        live = cluster.get(path)
        if live and live["metadata"].get("deletionTimestamp"):
            self._wait_gone(task, cluster, path, live["metadata"]["uid"])
            return None
        return live

    def _update(self, task: Task, cluster: Cluster, path: str, inputs: dict[str, Any], manager: str) -> Made:
        live = self._gone_or_live(task, cluster, path)
        moved = ownership.transferred(live, manager) if live else None
        if moved:
            cluster.patch(path, moved, manager)
        return self._apply(task, cluster, path, inputs, manager)

    def _apply(self, task: Task, cluster: Cluster, path: str, inputs: dict[str, Any], manager: str) -> Made:
        try:
            live = cluster.apply(path, inputs, manager)
        except ApiError as error:
            if not (is_conflict(error) and ownership.is_own_conflict(error)):
                raise
            live = cluster.apply(path, inputs, manager, force=True)
        trouble: EngineError | None = None
        try:
            live = self._wait_ready(task, cluster, path, live)
        except EngineError as problem:  # it is there, which the state must say
            trouble = problem
            if not isinstance(problem, InterruptedRunError):
                trouble = EngineError(f"{inputs['kind']} {inputs['metadata']['name']}: {problem}")
            live = self._look(cluster, path) or live
        metadata = live["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])
        own = {_MANAGER: manager, "__initialApiVersion": inputs["apiVersion"], "__inputs": task.inputs}
        return Made(name, {**own, **mark_secrets(live, task.inputs)}, trouble)

    def _look(self, cluster: Cluster, path: str) -> dict[str, Any] | None:
        try:
            return cluster.get(path)
        except EngineError:
            return None

    def _wait_ready(self, task: Task, cluster: Cluster, path: str, live: dict[str, Any]) -> dict[str, Any]:
        if not readiness.is_awaited(live):
            return live
        limit = task.timeout or float(readiness.notes(live).get(readiness.TIMEOUT) or readiness.DEFAULT_TIMEOUT)
        end, told = time.monotonic() + limit, ""
        while why := readiness.missing(live, cluster.get):
            if why != told:
                task.talk.say("waiting", why)
                told = why
            if time.monotonic() > end:
                raise EngineError(f"not ready after {limit:g} s: {why}")
            self._interrupt.sleep(_PAUSE)
            found = cluster.get(path)
            if found is None:
                raise EngineError("it was deleted while it was waited for")
            live = found
        return live

    def _wait_gone(self, task: Task, cluster: Cluster, path: str, uid: str) -> None:
        limit = task.timeout or readiness.DEFAULT_TIMEOUT
        end, told = time.monotonic() + limit, False
        while (live := cluster.get(path)) and live["metadata"]["uid"] == uid:
            if time.monotonic() > end:
                kept = ", ".join(live["metadata"].get("finalizers") or []) or "nothing that we can see"
                raise EngineError(f"still there after {limit:g} s; held by {kept}")
            if not told:
                task.talk.say("waiting", "until it is gone")
                told = True
            self._interrupt.sleep(_PAUSE)
