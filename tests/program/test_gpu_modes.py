"""Who runs the device plugin and how cards are shared, in the objects that the program registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
import yaml

from components.rendered import Name, objects
from tests.support.registrations import Record, Step
from tests.support.stacks import plan, preview

Edit = Callable[[dict[str, Any]], Any]


def _gpu(**settings: Any) -> Edit:
    return lambda own: own.update(gpu=settings)


def _one(**settings: Any) -> Edit:
    def edit(own: dict[str, Any]) -> None:
        own["gpu"] = settings
        own["models"][0]["replicas"] = 1

    return edit


CASES: dict[str, tuple[str, Edit]] = {
    "patched": ("rtx2060", _gpu(devicePlugin="patched")),
    "existing": ("rtx2060", _gpu(devicePlugin="existing")),
    "runtime class": ("rtx2060", _gpu(runtimeClass="nvidia")),
    "mps": ("a100-shared", _gpu(sharing={"kind": "mps"})),
    "mig": ("a100-shared", _one(sharing={"kind": "mig", "profile": "3g.20gb"})),
}
_SHOWN: dict[str, Record] = {}


def shown(case: str) -> Record:
    if case not in _SHOWN:
        _SHOWN[case] = preview(*CASES[case])
    return _SHOWN[case]


def by_name(case: str) -> Mapping[str, Step]:
    return {step.name: step for step in shown(case).steps if step.custom}


def container(step: Step) -> dict[str, Any]:
    (found,) = step.inputs["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("case", CASES)
def test_each_way_previews_and_is_what_the_plan_alone_renders(case: str) -> None:
    assert shown(case).ok and shown(case).diagnostics == ()
    ours = objects(plan(*CASES[case]))
    theirs = {Name(s.inputs["kind"], s.name): dict(s.inputs) for s in shown(case).steps
              if s.type.startswith("kubernetes:") and not s.type.endswith("Patch")}  # fmt: skip
    assert ours == theirs


def test_a_patch_sets_fields_of_ours_by_a_manager_of_ours_and_forces_nothing() -> None:
    steps = by_name("patched")
    patch = steps["device-plugin-patch"]
    assert patch.type == "kubernetes:apps/v1:DaemonSetPatch"
    metadata = patch.inputs["metadata"]
    assert (metadata["namespace"], metadata["name"]) == ("kube-system", "nvidia-device-plugin-daemonset")
    assert metadata["annotations"] == {"pulumi.com/patchFieldManager": "local-ai-lab-rtx2060"}
    assert set(container(patch)) == {"name", "securityContext", "resources"}  # neither image nor environment
    assert not any(name.startswith("device-plugin-") and name != "device-plugin-patch" for name in steps)
    component = next(s for s in shown("patched").steps if s.urn == steps["phi-3-mini"].parent)
    assert patch.urn in component.dependencies


def test_a_plugin_that_is_there_gets_nothing() -> None:
    assert not [name for name in by_name("existing") if "device-plugin" in name]


def test_a_runtime_class_is_made_where_nobody_else_makes_it_and_named_by_gpu_pods() -> None:
    steps = by_name("runtime class")
    made = steps["device-plugin-runtime-class"].inputs
    assert (made["metadata"]["name"], made["handler"]) == ("nvidia", "nvidia")
    for name in ("device-plugin", "phi-3-mini"):
        assert steps[name].inputs["spec"]["template"]["spec"]["runtimeClassName"] == "nvidia"
    k3s = by_name("mps")
    assert "device-plugin-runtime-class" not in k3s  # K3s makes its own
    assert k3s["device-plugin"].inputs["spec"]["template"]["spec"]["runtimeClassName"] == "nvidia"


def test_mps_runs_its_control_daemon_and_engines_take_its_shared_memory() -> None:
    steps = by_name("mps")
    daemon, plugin = steps["device-plugin-mps"], steps["device-plugin"]
    assert container(daemon)["command"] == ["mps-control-daemon"]
    assert container(daemon)["securityContext"] == {"privileged": True}
    assert {"name": "MPS_ROOT", "value": "/run/nvidia/mps"} in container(plugin)["env"]
    assert container(plugin)["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert daemon.urn in plugin.dependencies
    engine = steps["llama-3-2-3b"]
    assert "shm" not in {volume["name"] for volume in engine.inputs["spec"]["template"]["spec"]["volumes"]}
    assert "/dev/shm" not in {mount["mountPath"] for mount in container(engine)["volumeMounts"]}  # noqa: S108


def test_mig_gives_the_plugin_the_one_capability_that_lists_slices() -> None:
    steps = by_name("mig")
    plugin = container(steps["device-plugin"])
    assert plugin["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    assert not plugin["securityContext"]["privileged"]
    config = yaml.safe_load(steps["device-plugin-config"].inputs["data"]["config.yaml"])
    assert config["flags"]["migStrategy"] == "single"
    assert container(steps["llama-3-2-3b"])["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_another_configuration_starts_another_pod_of_the_plugin() -> None:
    def mark(stack: str, edit: Edit | None = None) -> str:
        template = objects(plan(stack, edit))[Name("DaemonSet", "device-plugin")]["spec"]["template"]
        return str(template["metadata"]["annotations"]["local-ai-lab/config"])

    def four(own: dict[str, Any]) -> None:
        own["gpu"]["sharing"]["replicas"] = 4

    assert len({mark("a100-shared"), mark("a100-shared", four), mark("rtx2060")}) == 3
    assert mark("rtx2060") == mark("l40")


def test_engines_that_share_a_card_start_one_after_another() -> None:
    def second(own: dict[str, Any]) -> None:
        own["gpu"]["sharing"]["replicas"] = 4
        own["models"].append({**own["models"][0], "name": "a", "model": "llama-3.2-1b-instruct", "replicas": 1,
                              "port": 30081})  # fmt: skip

    made = plan("a100-shared", second)
    steps = preview("a100-shared", second).steps
    deployments = [s for s in steps if s.type == "kubernetes:apps/v1:Deployment"]
    order = [(share.model, share.replica) for share in made.cards[0].shares]
    assert order == [("llama-3-2-3b", 0), ("llama-3-2-3b", 1), ("llama-3-2-3b", 2), ("a", 0)]
    names = ["llama-3-2-3b", "llama-3-2-3b-engine-1", "llama-3-2-3b-engine-2", "a"]
    by = {s.name: s for s in deployments}
    assert set(by) == set(names)
    components = {s.urn: s for s in steps if not s.custom}
    for before, after in pairwise(names):
        waits_for = {*by[after].dependencies, *components[by[after].parent].dependencies}
        assert by[before].urn in waits_for, (before, after)
    assert all(s.inputs["spec"]["replicas"] == 1 for s in deployments)
    selectors = [s.inputs["spec"]["selector"]["matchLabels"] for s in deployments]
    assert all(selectors.count(selector) == 1 for selector in selectors)
