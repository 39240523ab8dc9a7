"""The whole program, for every stack file that the repository ships."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.golden import assert_golden
from tests.support.registrations import UNKNOWN, Record
from tests.support.stacks import ROOT, STACKS, plan, preview, tree

_SHOWN: dict[str, Record] = {}


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
    assert len(urns) == len(set(urns)) > 15


def test_every_resource_has_a_parent(shown: Record) -> None:
    for step in shown.steps:
        assert step.parent or step.type == "pulumi:pulumi:Stack", step.urn


def test_every_kubernetes_object_uses_the_one_explicit_provider(shown: Record) -> None:
    (provider,) = [s.urn for s in shown.steps if s.type == "pulumi:providers:kubernetes"]
    objects = [s for s in shown.steps if s.type.startswith("kubernetes:")]
    assert len(objects) >= 10
    assert {s.provider.rpartition("::")[0] for s in objects} == {provider}


def test_every_kubernetes_object_goes_with_the_cluster(shown: Record) -> None:
    (bootstrap,) = [s.urn for s in shown.steps if s.name == "cluster-ensure"]
    assert {s.deleted_with for s in shown.steps if s.type.startswith("kubernetes:")} == {bootstrap}


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
    deployments = {s.urn for s in shown.steps if s.type == "kubernetes:apps/v1:Deployment"}
    component = next(s for s in shown.steps if s.urn == check.parent)
    assert deployments <= set(component.dependencies) | set(check.dependencies)


def test_outputs_show_the_derivation(stack: str, shown: Record) -> None:
    made = plan(stack)
    assert shown.outputs["planDigest"] == made.digest
    assert shown.outputs["kubeconfig"] == f"~/.local/state/local-ai-lab/stacks/{stack}/kubeconfig"
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


def test_the_manifests_are_the_golden_ones(stack: str, shown: Record) -> None:
    objects = {f"{s.inputs['kind']} {s.inputs['metadata']['name']} {s.inputs['metadata'].get('namespace', '')}".strip(): dict(s.inputs)
               for s in shown.steps if s.type.startswith("kubernetes:")}  # fmt: skip
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


@pytest.mark.parametrize("origin", STACKS)
def test_adding_a_model_adds_exactly_that_models_resources(origin: str) -> None:
    def roomy(own: dict[str, Any]) -> None:
        own["machine"] |= {"cpus": 16, "memoryGiB": 64}
        if own["machine"]["kind"] == "nvidia":
            own["machine"] |= {"gpus": 2, "platform": "linux"}
            own["machine"].pop("wslMemoryGiB", None)

    def one_more(own: dict[str, Any]) -> None:
        roomy(own)
        own["models"].append({**own["models"][0], "name": "second", "port": 30081})

    before, after = preview(origin, roomy), preview(origin, one_more)
    added = {s.urn.split("::")[-1] for s in after.steps} - {s.urn.split("::")[-1] for s in before.steps}
    assert added == {
        "second", "second-weights", "second-account", "second-network", "second-disruption", "second-service", "second-endpoint",
    }  # fmt: skip
    assert len(after.steps) == len(before.steps) + 8  # the component and its Deployment share the name
    first = before.steps[0].urn.rpartition("::")[0]
    assert first
    kept = {s.urn: s for s in after.steps}
    changed = {s.name for s in before.steps if s.custom and kept[s.urn].inputs != s.inputs}
    assert changed == {"inference-check-run"}  # it asks the new model too


def test_one_environment_value_changes_exactly_its_deployment_and_the_check(stack: str, shown: Record) -> None:
    def edit(own: dict[str, Any]) -> None:
        own["models"][0]["environment"] = {"VLLM_LOGGING_LEVEL": "DEBUG"}

    after = {s.urn: s for s in preview(stack, edit).steps}
    changed = {s.name for s in shown.steps if s.custom and after[s.urn].inputs != s.inputs}
    assert changed == {plan(stack).models[0].name, "inference-check-run"}


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


def test_another_key_starts_new_pods_and_stays_secret(stack: str) -> None:
    def key(text: str):
        return lambda own: own.update(apiKey=text)

    one, two = ({s.urn: s for s in preview(stack, key(text)).steps} for text in ("sk-first-canary", "sk-other-canary"))
    changed = {
        s.name for s in one.values() if s.type == "kubernetes:apps/v1:Deployment" and two[s.urn].inputs != s.inputs
    }
    assert changed == {plan(stack).models[0].name}
    assert "canary" not in str([s.to_json() for s in one.values()])


def test_host_state_of_the_machine_reaches_the_bootstrap(stack: str) -> None:
    folder = Path.home() / ".local/state/local-ai-lab/stacks" / stack
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text('{"epoch": 7}')
    ensure = next(s for s in preview(stack).steps if s.name == "cluster-ensure")
    assert ensure.inputs["environment"]["LAB_EPOCH"] == "7"


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
