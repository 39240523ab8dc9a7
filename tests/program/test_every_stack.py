"""The whole program, for every stack file that the repository ships."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.settings import PROJECT
from tests.support.golden import assert_golden
from tests.support.recording import Program, record
from tests.support.registrations import SECRET, UNKNOWN, Record
from tests.support.stacks import (
    BEHIND_A_GATEWAY,
    BY_ENVOY_GATEWAY,
    IN_A_NAMESPACE,
    IN_DOCKER,
    ON_KUBERNETES,
    ON_PORTS,
    ROOT,
    STACKS,
    WITH_A_PLUGIN,
    configuration,
    deployments,
    plan,
    preview,
    roomy,
    tree,
)

_SHOWN: dict[str, Record] = {}
on_kubernetes = pytest.mark.parametrize("stack", ON_KUBERNETES, indirect=True)
on_ports = pytest.mark.parametrize("stack", ON_PORTS, indirect=True)
in_docker = pytest.mark.parametrize("stack", IN_DOCKER, indirect=True)


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shown(stack: str) -> Record:
    """One preview a stack: the program is deterministic, which a test of its own holds."""
    if stack not in _SHOWN:
        _SHOWN[stack] = preview(stack)
    return _SHOWN[stack]


def test_a_preview_works_without_any_diagnostic(shown: Record) -> None:
    assert shown.ok
    assert shown.diagnostics == ()


def test_urns_are_unique(shown: Record) -> None:
    urns = [s.urn for s in shown.steps]
    assert len(urns) == len(set(urns)) > 5


def test_every_resource_has_a_parent(shown: Record) -> None:
    for step in shown.steps:
        assert step.parent or step.type == "pulumi:pulumi:Stack", step.urn


@on_kubernetes
def test_every_kubernetes_object_uses_the_one_explicit_provider(shown: Record) -> None:
    (provider,) = [s.urn for s in shown.steps if s.type == "pulumi:providers:kubernetes"]
    objects = [s for s in shown.steps if s.type.startswith("kubernetes:")]
    assert len(objects) >= 8
    assert {s.provider.rpartition("::")[0] for s in objects} == {provider}


@on_kubernetes
def test_every_kubernetes_object_goes_with_the_cluster_or_with_its_namespace(stack: str, shown: Record) -> None:
    (bootstrap,) = [s.urn for s in shown.steps if s.name == "cluster-ensure"]
    objects = [s for s in shown.steps if s.type.startswith("kubernetes:")]
    if stack not in IN_A_NAMESPACE:
        assert {s.deleted_with for s in objects} == {bootstrap}
        return
    (space,) = [s for s in objects if s.type.endswith(":Namespace")]
    assert not space.deleted_with
    assert {s.deleted_with for s in objects if s is not space} == {space.urn}
    assert {s.inputs["metadata"]["namespace"] for s in objects if s is not space} == {space.inputs["metadata"]["name"]}


@pytest.mark.parametrize("stack", IN_A_NAMESPACE, indirect=True)
def test_in_somebody_elses_cluster_nothing_is_published_or_installed_and_the_namespace_is_marked(
    stack: str, shown: Record
) -> None:
    kinds = {s.type.rpartition(":")[2] for s in shown.steps if s.type.startswith("kubernetes:")}
    assert kinds == {
        "Namespace", "NetworkPolicy", "PersistentVolumeClaim", "ServiceAccount", "PodDisruptionBudget", "Deployment",
        "Service",
    }  # fmt: skip
    services = [s for s in shown.steps if s.type.endswith(":Service")]
    assert {s.inputs["spec"]["type"] for s in services} == {"ClusterIP"}
    (space,) = [s for s in shown.steps if s.type.endswith(":Namespace")]
    marks = space.inputs["metadata"]["annotations"]
    assert marks["local-ai-lab/stack"] == stack
    assert re.fullmatch(r"[0-9a-f]{16}", marks["local-ai-lab/owner"])


@pytest.mark.parametrize("stack", IN_A_NAMESPACE, indirect=True)
def test_pods_in_somebody_elses_cluster_fetch_their_weights_and_go_where_they_are_sent(stack: str) -> None:
    def edit(own: dict[str, Any]) -> None:
        own["cluster"] |= {
            "nodeSelector": {"pool": "a"}, "tolerations": ["sku"], "runtimeClass": "nvidia", "scheduler": "runai",
            "storage": {"class": "shared", "accessMode": "ReadWriteMany"},
        }  # fmt: skip
        own["huggingFaceToken"] = "hf_canary1234567890"

    result = preview(stack, edit)
    pod = next(s for s in result.steps if s.type.endswith(":Deployment")).inputs["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], pod["runtimeClassName"], pod["schedulerName"]) == ({"pool": "a"}, "nvidia", "runai")
    assert [t["key"] for t in pod["tolerations"]] == ["nvidia.com/gpu", "sku"]
    assert "affinity" not in pod
    (fetch,), (engine,) = pod["initContainers"], pod["containers"]
    assert fetch["image"] == engine["image"]
    assert "nvidia.com/gpu" not in fetch["resources"]["requests"] and "nvidia.com/gpu" in engine["resources"]["limits"]
    assert {m["name"]: m.get("readOnly", False) for m in fetch["volumeMounts"]} == {"models": False, "tmp": False}
    assert {m["name"]: m.get("readOnly", False) for m in engine["volumeMounts"]}["models"]
    weights = plan(stack).models[0].weights
    assert fetch["args"] == [weights.repository, weights.revision or "main", f"/models/{weights.directory}"]
    assert [e["name"] for e in fetch["env"]][-1] == "HF_TOKEN"
    assert "HF_TOKEN" not in [e["name"] for e in engine["env"]]
    (claim,) = [s for s in result.steps if s.type.endswith(":PersistentVolumeClaim")]
    assert (claim.inputs["spec"]["storageClassName"], claim.inputs["spec"]["accessModes"]) == (
        "shared",
        ["ReadWriteMany"],
    )
    shipped = next(s for s in preview(stack).steps if s.type.endswith(":Deployment")).inputs["spec"]["template"]["spec"]
    assert shipped["affinity"]["podAffinity"]  # ReadWriteOnce: all on one node


@on_kubernetes
def test_no_image_is_untagged_or_latest(shown: Record) -> None:
    images = [c["image"] for s in shown.steps for c in _containers(s.inputs)]
    assert images
    for image in images:
        name = image.split("@")[0]
        assert re.search(r":[^/]+$", name) and not name.endswith(":latest"), image


def test_bootstrap_commands_have_no_triggers_and_one_text_for_create_and_update(shown: Record) -> None:
    commands = [
        s
        for s in shown.steps
        if s.type == "command:local:Command" and s.inputs["create"].startswith(".venv/bin/python -m host")
    ]
    assert commands
    for step in commands:
        assert "triggers" not in step.inputs
        assert step.inputs["update"] == step.inputs["create"]


def test_no_input_depends_on_what_only_up_can_know(shown: Record) -> None:
    for step in shown.steps:
        assert UNKNOWN not in str(step.inputs), step.urn


def test_the_check_runs_again_when_the_digest_changes_and_comes_last(stack: str, shown: Record) -> None:
    (check,) = [s for s in shown.steps if s.name == "inference-check-run"]
    assert check.inputs["triggers"] == [plan(stack).digest]
    kind, name = ("kubernetes:apps/v1:Deployment", None) if stack in ON_KUBERNETES else (None, "containers-ensure")
    engines = {s.urn for s in shown.steps if s.type == kind or s.name == name}
    component = next(s for s in shown.steps if s.urn == check.parent)
    assert engines
    assert engines <= set(component.dependencies) | set(check.dependencies)


@on_kubernetes
def test_no_pod_asks_for_a_gpu_before_the_node_offers_what_all_ask_for(stack: str, shown: Record) -> None:
    names = waits(shown)
    assert bool(names) == bool((nvidia := plan(stack).nvidia) and nvidia.device_plugin.mode == "owned")
    for wait in (s for s in shown.steps if s.name in names):
        assert wait.inputs["update"] == wait.inputs["create"]  # in place: nothing that depends on it is replaced
        asked = [(s, c) for s in shown.steps if s.type.endswith(":Deployment") for c in _containers(s.inputs)]
        asked = [(s, c) for s, c in asked if "nvidia.com/gpu" in c["resources"]["limits"]]
        limits = [s.inputs["spec"]["replicas"] * int(c["resources"]["limits"]["nvidia.com/gpu"]) for s, c in asked]
        assert int(wait.inputs["environment"]["LAB_GPUS"]) == sum(limits) > 0
        by_urn = {s.urn: s for s in shown.steps}
        for deployment, _ in asked:
            assert wait.urn in {*deployment.dependencies, *by_urn[deployment.parent].dependencies}


def test_outputs_show_the_derivation(stack: str, shown: Record) -> None:
    made = plan(stack)
    assert shown.outputs["planDigest"] == made.digest
    kubeconfig = f"~/.local/state/local-ai-lab/stacks/{stack}/kubeconfig"
    assert shown.outputs.get("kubeconfig") == (kubeconfig if stack in ON_KUBERNETES else None)
    for model in made.models:
        assert shown.outputs["endpoints"][model.name] == model.endpoint
        reasons = shown.outputs["models"][model.name]["decisions"]
        assert set(reasons) == {d.name for d in model.decisions}
        assert all(d.reason in reasons[d.name] for d in model.decisions)


def test_two_previews_are_equal(stack: str, shown: Record) -> None:
    again = preview(stack)
    assert [s.to_json() for s in again.steps] == [s.to_json() for s in shown.steps]
    assert again.outputs == shown.outputs


def test_the_tree_is_the_golden_one(stack: str, shown: Record) -> None:
    assert_golden(f"trees/{stack}.txt", "\n".join(tree(shown)) + "\n")


@on_kubernetes
def test_the_manifests_are_the_golden_ones(stack: str, shown: Record) -> None:
    objects = {}
    for step in shown.steps:
        if step.type.startswith("kubernetes:helm."):
            objects[f"Release {step.inputs['name']} {step.inputs['namespace']}"] = dict(step.inputs)
        elif step.type.startswith("kubernetes:"):
            metadata = step.inputs["metadata"]
            name = f"{step.inputs['kind']} {metadata['name']} {metadata.get('namespace', '')}".strip()
            objects[name] = dict(step.inputs)
            if "local-ai-lab/owner" in (marks := metadata.get("annotations", {})):
                objects[name] |= {"metadata": {**metadata, "annotations": {**marks, "local-ai-lab/owner": "OWNER"}}}
    assert_golden(f"manifests/{stack}.yaml", yaml.safe_dump(objects, sort_keys=True, width=140))


def test_no_pod_takes_what_a_scheduler_or_an_admin_should_give(shown: Record) -> None:
    for step in shown.steps:
        if step.type in ("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:DaemonSet"):
            text = str(step.inputs)
            for forbidden in (
                "'privileged': True",
                "hostNetwork",
                "hostPID",
                "NVIDIA_VISIBLE_DEVICES",
                "trust-remote-code",
                "hf_",
            ):
                assert forbidden not in text, f"{step.name}: {forbidden}"
        if step.type == "kubernetes:apps/v1:Deployment":
            assert "hostPath" not in str(step.inputs)


@pytest.mark.parametrize("origin", ON_KUBERNETES)
def test_adding_a_model_adds_exactly_that_models_resources(origin: str) -> None:
    def one_more(own: dict[str, Any]) -> None:
        roomy(own)
        own["models"].append({**own["models"][0], "name": "second", "replicas": 1, "port": 30090})

    before, after = preview(origin, roomy), preview(origin, one_more)
    added = {s.urn.split("::")[-1] for s in after.steps} - {s.urn.split("::")[-1] for s in before.steps}
    parts = ["", "-account", "-network", "-disruption", "-service"]
    parts += [] if origin in IN_A_NAMESPACE else ["-weights"]
    parts += ["-endpoint"] if origin in ON_PORTS and origin not in IN_A_NAMESPACE else []
    parts += ["-route"] if origin in BY_ENVOY_GATEWAY else []
    filters = [f"gateway-{what}-second-filter" for what in ("about", "listing") if origin in BY_ENVOY_GATEWAY]
    assert added == {f"second{part}" for part in parts} | set(filters)
    assert (
        len(after.steps) == len(before.steps) + len(parts) + len(filters) + 1
    )  # the component and its Deployment share the name
    first = before.steps[0].urn.rpartition("::")[0]
    assert first
    kept = {s.urn: s for s in after.steps}
    changed = {s.name for s in before.steps if s.custom and kept[s.urn].inputs != s.inputs}
    # the check asks the new model too, somebody else's cluster is asked whether it has room for it, and a gateway
    # lists it
    wanted = {"inference-check-run", *waits(before), *(["cluster-ensure"] if origin in IN_A_NAMESPACE else [])}
    listed = {"gateway-listing-filter"} if origin in BY_ENVOY_GATEWAY else set()
    if origin in set(BEHIND_A_GATEWAY) - set(BY_ENVOY_GATEWAY):
        listed = {"gateway-configuration", "gateway"}
    assert changed == wanted | listed | ({"gateway-routing"} if origin in WITH_A_PLUGIN else set())


def waits(record: Record) -> list[str]:
    """The Command that waits for GPUs before any pod asks for one, where the stack's own device plugin offers them."""
    return [s.name for s in record.steps if s.name == "allocatable-gpus-run"]


@on_kubernetes
def test_one_environment_value_changes_exactly_its_deployment_and_the_check(stack: str, shown: Record) -> None:
    def edit(own: dict[str, Any]) -> None:
        own["models"][0]["environment"] = {"VLLM_LOGGING_LEVEL": "DEBUG"}

    after = {s.urn: s for s in preview(stack, edit).steps}
    changed = {s.name for s in shown.steps if s.custom and after[s.urn].inputs != s.inputs}
    assert changed == {*deployments(plan(stack), 1), "inference-check-run", *waits(shown)}


@on_ports
def test_a_key_guards_the_endpoint_and_is_never_shown(stack: str) -> None:
    def edit(own: dict[str, Any]) -> None:
        own["apiKey"] = "sk-canary-1234567890"
        own["huggingFaceToken"] = "hf_canary1234567890"

    result = preview(stack, edit)
    assert result.ok
    text = str(result.to_json()) + str(result.outputs)
    assert "canary" not in text
    assert plan(stack, edit).auth == "apiKey"
    deployment = next(s for s in result.steps if s.type == "kubernetes:apps/v1:Deployment")
    key = [e for c in _containers(deployment.inputs) for e in c["env"] if e["name"] == "VLLM_API_KEY"]
    assert key == [
        {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"key": "apiKey", "name": "endpoint-api-key"}}}
    ]
    assert any(s.type == "kubernetes:core/v1:Secret" for s in result.steps)


@on_ports
def test_another_key_starts_new_pods_and_stays_secret(stack: str) -> None:
    def key(text: str):
        return lambda own: own.update(apiKey=text)

    one, two = ({s.urn: s for s in preview(stack, key(text)).steps} for text in ("sk-first-canary", "sk-other-canary"))
    changed = {
        s.name for s in one.values() if s.type == "kubernetes:apps/v1:Deployment" and two[s.urn].inputs != s.inputs
    }
    assert changed == set(deployments(plan(stack)))
    assert "canary" not in str([s.to_json() for s in one.values()])


def test_host_state_of_the_machine_reaches_the_bootstrap(stack: str) -> None:
    folder = Path.home() / ".local/state/local-ai-lab/stacks" / stack
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text('{"epoch": 7}')
    ensure = next(s for s in preview(stack).steps if s.name in ("cluster-ensure", "containers-ensure"))
    assert ensure.inputs["environment"]["LAB_EPOCH"] == "7"


@in_docker
def test_containers_come_after_the_machine_knows_its_gpus_and_all_weights_are_there(stack: str, shown: Record) -> None:
    steps = {s.name: s for s in shown.steps if s.custom}
    ensure = steps["containers-ensure"]
    weights = {s.urn for name, s in steps.items() if name.endswith("-weights")}
    assert weights
    assert weights <= set(ensure.dependencies)
    component = next(s for s in shown.steps if s.urn == ensure.parent)
    assert steps["nvidia-runtime-ensure"].urn in component.dependencies
    assert not any(s.type.startswith(("kubernetes:", "pulumi:providers:")) for s in shown.steps)


@in_docker
def test_a_key_goes_to_docker_as_a_secret_and_into_no_argument_or_label(stack: str) -> None:
    def edit(own: dict[str, Any]) -> None:
        own |= {"apiKey": "sk-canary-1234567890", "huggingFaceToken": "hf_canary1234567890"}

    result = preview(stack, edit)
    assert result.ok
    assert "canary" not in str(result.to_json()) + str(result.outputs)
    (ensure,) = [s for s in result.steps if s.name == "containers-ensure"]
    document = json.loads(ensure.inputs["environment"]["LAB_SPEC"])
    assert document["x-api-key"] == {"vllm.env": "VLLM_API_KEY"}
    assert ensure.inputs["environment"]["LAB_API_KEY"] == SECRET
    for service in document["services"].values():
        assert service["env_file"] == ["vllm.env"]
        assert "VLLM_API_KEY" not in service["environment"]


@in_docker
def test_one_environment_value_changes_exactly_its_service(stack: str, shown: Record) -> None:
    def edit(own: dict[str, Any]) -> None:
        own["models"][0]["environment"] = {"VLLM_LOGGING_LEVEL": "DEBUG"}

    after = {s.urn: s for s in preview(stack, edit).steps}
    changed = {s.name for s in shown.steps if s.custom and after[s.urn].inputs != s.inputs}
    assert changed == {"containers-ensure", "inference-check-run"}


def _containers(inputs: Any) -> list[dict[str, Any]]:
    if not isinstance(inputs.get("spec"), dict):
        return []
    found: list[dict[str, Any]] = inputs["spec"].get("template", {}).get("spec", {}).get("containers", [])
    return found


def test_every_stack_file_of_the_repository_is_looked_at() -> None:
    assert (
        {f"Pulumi.{s}.yaml" for s in STACKS}
        == {p.name for p in ROOT.glob("Pulumi.*.yaml")}
        >= {"Pulumi.dev.yaml", "Pulumi.rtx2060.yaml"}
    )


TRANSFORMED = """
import pulumi
def add(args):
    if args.type_ == "kubernetes:apps/v1:Deployment":
        args.props["metadata"] = {**args.props["metadata"], "labels": {**args.props["metadata"]["labels"], "team": "a"}}
        return pulumi.ResourceTransformationResult(args.props, args.opts)
pulumi.runtime.register_stack_transformation(add)
"""


def test_a_transformation_of_the_owner_reaches_the_objects(tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(TRANSFORMED + (ROOT / "__main__.py").read_text())
    config = {f"{PROJECT}:{key}": json.dumps(value) for key, value in configuration(STACKS[0]).items()}
    shown = record(Program(tmp_path / "__main__.py", PROJECT, STACKS[0], config, frozenset()))
    assert shown.ok, shown.diagnostics
    labels = [s.inputs["metadata"]["labels"] for s in shown.steps if s.type.startswith("kubernetes:")]
    found = [s for s in labels if s.get("team") == "a"]
    deployments = [s for s in shown.steps if s.type == "kubernetes:apps/v1:Deployment"]
    assert len(found) == len(deployments) > 0
