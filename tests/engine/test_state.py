"""A program against a recorded state: what stays, changes, is replaced, goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import EngineError, Program, StackConfig, preview
from tests.engine.conftest import KUBE_PROVIDER, PROJECT, STACK, Run, base_state, by_name, messages, recorded, urn

COMMAND = "command:local:Command"
HEAD = """
import pulumi, pulumi_kubernetes as k8s
from pulumi import Alias, ResourceOptions as Opts
from pulumi_command import local
"""
KUBE = (
    HEAD
    + """
cluster = k8s.Provider("cluster", kubeconfig="/none", cluster_identifier="one")
opts = Opts(provider=cluster)
"""
)


def command(name: str, **inputs: Any) -> dict[str, Any]:
    return recorded(COMMAND, name, inputs=inputs, outputs={**inputs, "stdout": "said", "stderr": ""})


def config_map(**keys: Any) -> dict[str, Any]:
    inputs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, **keys}
    return recorded("kubernetes:core/v1:ConfigMap", "map", inputs=inputs)


def test_an_unchanged_command_keeps_its_id_and_outputs(run: Run) -> None:
    result = run(HEAD + 'c = local.Command("c", create="true")\npulumi.export("said", c.stdout)\npulumi.export("id", c.id)',
                 resources=[*base_state(), command("c", create="true")])  # fmt: skip
    assert by_name(result)["c"].op == "same"
    assert result.outputs == {"said": "said", "id": "c-id"}
    assert [step["op"] for step in result.to_json()["steps"]] == ["same"]  # the stack alone is listed


def test_a_changed_environment_updates_a_command(run: Run) -> None:
    state = [*base_state(), command("c", create="true", environment={"A": "1", "B": "2"})]
    result = run(
        HEAD + 'c = local.Command("c", create="true", environment={"A": "1", "C": "3"})\npulumi.export("said", c.stdout)', resources=state
    )
    step = by_name(result)["c"]
    assert (step.op, step.diff_reasons) == ("update", ("environment",))
    assert dict(step.detailed_diff or {}) == {
        "environment.B": {"kind": "delete", "inputDiff": False},
        "environment.C": {"kind": "add", "inputDiff": False},
    }
    assert step.provider.endswith("::11111111-aaaa")
    assert "id" not in step.state
    assert result.outputs["said"] != "said"


def test_a_changed_trigger_replaces_a_command(run: Run) -> None:
    result = run(
        HEAD + 'local.Command("c", create="true", triggers=["two"])',
        resources=[*base_state(), command("c", create="true", triggers=["one"])],
    )
    step = by_name(result)["c"]
    assert (step.op, step.diff_reasons, step.replace_reasons) == ("replace", ("triggers",), ())
    assert dict(step.detailed_diff or {}) == {"triggers[0]": {"kind": "update-replace", "inputDiff": False}}
    assert step.old is not None
    assert step.old["delete"] is True
    assert step.state["outputs"]["triggers"] == ["two"]


def test_replace_on_changes_turns_an_update_into_a_replacement(run: Run) -> None:
    state = [*base_state(), command("c", create="true", stdin="a")]
    result = run(HEAD + 'local.Command("c", create="true", stdin="b", opts=Opts(replace_on_changes=["stdin"]))', resources=state)
    assert (by_name(result)["c"].op, by_name(result)["c"].replace_reasons) == ("replace", ("stdin",))


def test_ignored_changes_are_no_changes(run: Run) -> None:
    state = [*base_state(), command("c", create="true", environment={"A": "1", "B": "2"})]
    text = 'local.Command("c", create="true", environment={"A": "9", "B": "2"}, opts=Opts(ignore_changes=["environment.A"]))'
    step = by_name(run(HEAD + text, resources=state))["c"]
    assert step.op == "same"
    assert step.inputs["environment"] == {"A": "1", "B": "2"}


def test_a_resource_that_left_the_program_is_deleted_last_and_dependants_first(run: Run) -> None:
    state = [*base_state(), command("base", create="true"), command("top", create="true")]
    result = run(HEAD + 'local.Command("new", create="true")', resources=state)
    assert [(step.op, step.name) for step in result.steps[-2:]] == [("delete", "top"), ("delete", "base")]
    assert result.change_summary == {"create": 1, "delete": 2, "same": 1}


def test_a_protected_resource_cannot_be_deleted(run: Run) -> None:
    result = run("import pulumi", resources=[*base_state(), {**command("c", create="true"), "protect": True}])
    assert not result.ok
    assert "cannot be deleted: it is protected" in messages(result)


def test_a_protected_resource_cannot_be_replaced(run: Run) -> None:
    state = [*base_state(), {**command("c", create="true", triggers=[1]), "protect": True}]
    result = run(HEAD + 'local.Command("c", create="true", triggers=[2], opts=Opts(protect=True))', resources=state)
    assert not result.ok
    assert by_name(result)["c"].op == "replace"
    assert "marked for protection" in messages(result)


def test_a_changed_protection_is_shown_though_nothing_changes(run: Run) -> None:
    result = run(
        HEAD + 'local.Command("c", create="true", opts=Opts(protect=True))', resources=[*base_state(), command("c", create="true")]
    )
    assert [(step["op"], step["urn"]) for step in result.to_json()["steps"]][-1][0] == "same"
    assert len([step for step in result.steps if step.shown and step.name == "c"]) == 1


def test_nothing_is_deleted_by_a_program_that_failed(run: Run) -> None:
    result = run("raise RuntimeError('no')", resources=[*base_state(), command("c", create="true")])
    assert not result.ok
    assert [step.op for step in result.steps] == ["same"]


def test_a_renamed_and_reparented_resource_is_found_by_its_alias(run: Run) -> None:
    state = [*base_state(), command("old", create="true")]
    text = """
box = pulumi.ComponentResource("shop:a:Box", "box")
local.Command("new", create="true", opts=Opts(parent=box, aliases=[Alias(name="old", parent=pulumi.ROOT_STACK_RESOURCE)]))
"""
    step = by_name(run(HEAD + text, resources=state))["new"]
    assert step.op == "same"
    assert step.state["aliases"] == [urn(COMMAND, "old")]


def test_children_follow_an_aliased_component(run: Run) -> None:
    box = {"urn": urn("shop:a:Box", "box"), "type": "shop:a:Box", "custom": False}
    state = [*base_state(), box, recorded(f"shop:a:Box${COMMAND}", "box-c", inputs={"create": "true"})]
    text = """
crate = pulumi.ComponentResource("shop:a:Box", "crate", None, Opts(aliases=[Alias(name="box")]))
local.Command("crate-c", create="true", opts=Opts(parent=crate))
"""
    steps = by_name(run(HEAD + text, resources=state))
    assert (steps["crate"].op, steps["crate-c"].op) == ("same", "same")
    assert not [step for step in steps.values() if step.op == "delete"]


@pytest.mark.parametrize(("mutable", "op"), [("", "replace"), ("enable_config_map_mutable=True,", "update")])
def test_changed_data_replaces_a_config_map_unless_the_provider_makes_it_mutable(run: Run, mutable: str, op: str) -> None:
    text = KUBE.replace("k8s.Provider(", "k8s.Provider(").replace('kubeconfig="/none",', f'kubeconfig="/none", {mutable}')
    text += 'k8s.core.v1.ConfigMap("map", metadata={"name": "map"}, data={"a": "2"}, opts=opts)'
    step = by_name(run(text, resources=[*base_state(cluster=True), config_map(data={"a": "1"})]))["map"]
    assert step.op == op
    assert list(step.detailed_diff or {}) == ["data.a"]
    if op == "replace":
        assert step.replace_reasons == ("data.a",)
        assert (step.old or {})["pendingReplacement"] is True  # the same name: the old one goes first


def test_what_the_cluster_added_is_no_difference(run: Run) -> None:
    live = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default", "uid": "u-1"},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "clusterIP": "10.0.0.1"}, "status": {},
    }  # fmt: skip
    inputs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    state = [*base_state(cluster=True), recorded("kubernetes:core/v1:Service", "s", inputs=inputs, outputs=live)]
    text = KUBE + 's = k8s.core.v1.Service("s", metadata={"name": "s"}, spec={"ports": [{"port": %d}]}, opts=opts)\n'
    text += 'pulumi.export("ip", s.spec.cluster_ip)\npulumi.export("uid", s.metadata.uid)'
    assert by_name(run(text % 80, resources=state))["s"].op == "same"
    changed = run(text % 81, resources=state)
    step = by_name(changed)["s"]
    assert (step.op, dict(step.detailed_diff or {})) == ("update", {"spec.ports[0].port": {"kind": "update", "inputDiff": False}})
    assert changed.outputs == {"ip": "10.0.0.1", "uid": "u-1"}


def test_an_immutable_field_replaces_the_object(run: Run) -> None:
    def spec(label: str) -> dict[str, Any]:
        return {
            "selector": {"matchLabels": {"app": label}},
            "template": {"metadata": {"labels": {"app": label}}, "spec": {"containers": []}},
        }

    inputs = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec("one")}
    text = KUBE + f'k8s.apps.v1.Deployment("d", metadata={{"name": "d"}}, spec={spec("two")}, opts=opts)'.replace(
        "matchLabels", "match_labels"
    )
    step = by_name(run(text, resources=[*base_state(cluster=True), recorded("kubernetes:apps/v1:Deployment", "d", inputs=inputs)]))["d"]
    assert (step.op, step.replace_reasons) == ("replace", ("spec.selector.matchLabels.app",))
    assert "spec.template.metadata.labels.app" in (step.detailed_diff or {})


def test_an_autonamed_object_keeps_its_name_until_it_is_replaced(run: Run) -> None:
    metadata = {"name": "map-0000", "annotations": {"pulumi.com/autonamed": "true"}}
    text = KUBE + 'k8s.core.v1.ConfigMap("map", data={"a": "%s"}, opts=opts)'
    state = [*base_state(cluster=True), config_map(data={"a": "1"}, metadata=metadata)]
    assert by_name(run(text % 1, resources=state))["map"].op == "same"
    step = by_name(run(text % 2, resources=state))["map"]
    assert step.op == "replace"
    assert step.inputs["metadata"]["name"] != "map-0000"
    assert (step.old or {})["delete"] is True  # another name: the new one comes first


def test_another_cluster_replaces_the_provider_and_all_it_holds(run: Run) -> None:
    text = KUBE.replace('"one"', '"two"') + 'k8s.core.v1.ConfigMap("map", metadata={"name": "map"}, opts=opts)'
    steps = by_name(run(text, resources=[*base_state(cluster=True), config_map()]))
    assert (steps["cluster"].op, steps["cluster"].replace_reasons) == ("replace", ("clusterIdentifier",))
    assert (steps["map"].op, steps["map"].replace_reasons) == ("replace", ("provider",))


def test_a_new_kubeconfig_of_the_same_cluster_only_updates_the_provider(run: Run) -> None:
    text = KUBE.replace("/none", "/other") + 'k8s.core.v1.ConfigMap("map", metadata={"name": "map"}, opts=opts)'
    steps = by_name(run(text, resources=[*base_state(cluster=True), config_map()]))
    assert (steps["cluster"].op, steps["cluster"].diff_reasons) == ("update", ("kubeconfig",))
    assert steps["map"].op == "same"


def test_what_is_deleted_with_a_replaced_resource_is_replaced_too(run: Run) -> None:
    base = command("base", create="true", triggers=["one"])
    state = [*base_state(), base, {**command("child", create="true"), "deletedWith": base["urn"]}]
    text = (
        HEAD
        + """
base = local.Command("base", create="true", triggers=["two"])
local.Command("child", create="true", opts=Opts(deleted_with=base))
"""
    )
    step = by_name(run(text, resources=state))["child"]
    assert (step.op, step.replace_reasons) == ("replace", ("deletedWith",))


def test_delete_before_replace_takes_along_what_a_new_value_would_replace(run: Run) -> None:
    follower = {**command("follower", create="true", triggers=["said"]), "propertyDependencies": {"triggers": [urn(COMMAND, "base")]}}
    bystander = {**command("bystander", create="said"), "propertyDependencies": {"create": [urn(COMMAND, "base")]}}
    state = [*base_state(), command("base", create="true", triggers=["one"]), follower, bystander]
    text = (
        HEAD
        + """
base = local.Command("base", create="true", triggers=["two"], opts=Opts(delete_before_replace=True))
local.Command("follower", create="true", triggers=[base.stdout.apply(lambda text: "said")])
local.Command("bystander", create=base.stdout)
"""
    )
    steps = by_name(run(text, resources=state))
    assert [steps[name].op for name in ("base", "follower", "bystander")] == ["replace", "replace", "update"]
    assert (steps["base"].old or {})["pendingReplacement"] is True


def test_a_resource_that_never_became_ready_is_tried_again(run: Run) -> None:
    state = [*base_state(), {**command("c", create="true"), "initErrors": ["timed out"]}]
    assert by_name(run(HEAD + 'local.Command("c", create="true")', resources=state))["c"].op == "update"


def test_a_component_with_other_inputs_is_updated(run: Run) -> None:
    box = {"urn": urn("shop:a:Box", "box"), "type": "shop:a:Box", "custom": False, "inputs": {"n": 1}}
    assert (
        by_name(run(HEAD + 'pulumi.ComponentResource("shop:a:Box", "box", {"n": 2})', resources=[*base_state(), box]))["box"].op == "update"
    )


def test_the_state_file_is_never_written(run: Run, tmp_path: Path) -> None:
    run(HEAD + 'local.Command("c", create="true")', resources=base_state())
    before = (tmp_path / "state.json").read_bytes()
    run(HEAD + 'local.Command("d", create="true")', resources=base_state())
    assert (tmp_path / "state.json").read_bytes() == before


@pytest.mark.parametrize("content", ["nonsense", "[]", '{"version": 4, "deployment": {}}', '{"version": 3}'])
def test_a_file_that_is_no_deployment_is_refused_with_the_command_to_type(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(EngineError, match="deployment"):
        preview(Program(PROJECT, STACK, tmp_path, tmp_path / "__main__.py"), StackConfig(), tmp_path / "state.json")


def test_an_interrupted_run_is_mentioned(run: Run, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("import pulumi")
    document = {
        "version": 3,
        "deployment": {"resources": [], "pending_operations": [{"resource": {"urn": KUBE_PROVIDER}, "type": "creating"}]},
    }
    (tmp_path / "state.json").write_text(json.dumps(document))
    result = preview(Program(PROJECT, STACK, tmp_path, tmp_path / "__main__.py"), StackConfig(), tmp_path / "state.json")
    assert result.ok
    assert "interrupted" in messages(result)
