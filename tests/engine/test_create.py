"""A program without a state: everything is created, and the program gets as far as it would in a real preview."""

from __future__ import annotations

from engine import UNKNOWN
from tests.engine.conftest import COMMAND_PROVIDER, KUBE_PROVIDER, STACK_URN, Run, by_name, messages, urn

KUBE = """
import pulumi, pulumi_kubernetes as k8s
from pulumi import ResourceOptions as Opts
cluster = k8s.Provider("cluster", kubeconfig="/none", cluster_identifier="one")
opts = Opts(provider=cluster)
"""


def test_components_nest_in_urns_and_the_stack_type_never_does(run: Run) -> None:
    result = run("""
        import pulumi
        from pulumi import ResourceOptions as Opts
        outer = pulumi.ComponentResource("shop:a:Outer", "outer", {"size": 2.0, "none": None})
        inner = pulumi.ComponentResource("shop:b:Inner", "inner", None, Opts(parent=outer))
        """)
    steps = by_name(result)
    assert result.ok
    assert [step.urn for step in result.steps] == [STACK_URN, urn("shop:a:Outer", "outer"), urn("shop:a:Outer$shop:b:Inner", "inner")]
    assert steps["outer"].new == {
        "urn": urn("shop:a:Outer", "outer"), "custom": False, "type": "shop:a:Outer", "inputs": {"size": 2},
        "parent": STACK_URN, "propertyDependencies": {"size": []},
    }  # fmt: skip
    assert steps["inner"].parent == urn("shop:a:Outer", "outer")
    assert result.change_summary == {"create": 3}


def test_a_command_has_its_default_provider_and_unknown_output(run: Run) -> None:
    result = run("""
        import pulumi
        from pulumi_command import local
        first = local.Command("first", create="echo hi", environment={"N": "1"}, opts=pulumi.ResourceOptions(
            custom_timeouts=pulumi.CustomTimeouts(create="1h30m", delete="10s")))
        second = local.Command("second", create=first.stdout, opts=pulumi.ResourceOptions(depends_on=[first]))
        pulumi.export("id", first.id)
        pulumi.export("known", first.create)
        pulumi.export("said", first.stdout)
        """)
    first, second = by_name(result)["first"], by_name(result)["second"]
    assert result.ok, messages(result)
    assert first.provider == f"{COMMAND_PROVIDER}::{UNKNOWN}"
    assert first.inputs == {"create": "echo hi", "environment": {"N": "1"}}
    assert first.state["customTimeouts"] == {"create": 5400, "delete": 10}
    assert first.state["replaceOnChanges"] == ["triggers[*]"]
    assert second.inputs == {"create": UNKNOWN}
    assert second.dependencies == (first.urn,)
    assert second.property_dependencies == {"create": [first.urn]}
    assert result.outputs == {"id": UNKNOWN, "known": "echo hi", "said": UNKNOWN}
    assert COMMAND_PROVIDER not in {step.urn for step in result.steps}


def test_a_kubernetes_object_goes_through_its_explicit_provider(run: Run) -> None:
    result = run(KUBE + """
space = k8s.core.v1.Namespace("space", metadata={"name": "models"}, opts=opts)
pod = k8s.core.v1.Pod("pod", metadata={"name": "pod", "namespace": space.metadata.name}, spec={"containers": [
    {"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "0.5", "memory": "2048Mi", "nvidia.com/gpu": 1}}}]}, opts=opts)
pulumi.export("phase", pod.status.phase)
pulumi.export("name", pod.metadata.name)
""", config={"pulumi:disable-default-providers": '["kubernetes"]'})  # fmt: skip
    steps = by_name(result)
    assert result.ok, messages(result)
    assert steps["cluster"].inputs == {"__internal": {}, "kubeconfig": "/none", "clusterIdentifier": "one", "version": "4.34.2"}
    assert steps["pod"].provider == f"{KUBE_PROVIDER}::{UNKNOWN}"
    assert steps["pod"].dependencies == (steps["space"].urn,)
    limits = steps["pod"].inputs["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "500m", "memory": "2Gi", "nvidia.com/gpu": "1"}
    assert result.outputs == {"phase": UNKNOWN, "name": "pod"}


def test_an_unnamed_object_gets_the_same_name_in_every_preview(run: Run) -> None:
    text = KUBE + 'k8s.core.v1.ConfigMap("settings", data={"a": "1"}, opts=opts)\n'
    first, second = (by_name(run(text))["settings"].inputs["metadata"] for _ in range(2))
    assert first == second
    assert first["name"].startswith("settings-")
    assert first["annotations"] == {"pulumi.com/autonamed": "true"}


def test_the_providers_namespace_reaches_namespaced_objects_only(run: Run) -> None:
    text = (
        KUBE.replace('cluster_identifier="one"', 'namespace="team"')
        + """
k8s.core.v1.ConfigMap("map", metadata={"name": "map"}, opts=opts)
k8s.core.v1.Namespace("space", metadata={"name": "space"}, opts=opts)
k8s.apiextensions.CustomResource("gate", api_version="gateway.networking.k8s.io/v1", kind="Gateway", metadata={"name": "gate"},
    spec={"listeners": []}, opts=opts)
"""
    )
    steps = by_name(run(text))
    assert steps["map"].inputs["metadata"]["namespace"] == "team"
    assert steps["gate"].inputs["metadata"]["namespace"] == "team"
    assert steps["gate"].type == "kubernetes:gateway.networking.k8s.io/v1:Gateway"
    assert "namespace" not in steps["space"].inputs["metadata"]


def test_resource_options_stand_in_the_planned_state_and_children_inherit_three_of_them(run: Run) -> None:
    result = run("""
        import pulumi
        from pulumi import ResourceOptions as Opts
        from pulumi_command import local
        keeper = local.Command("keeper", create="true")
        box = pulumi.ComponentResource("shop:a:Box", "box", None, Opts(protect=True, retain_on_delete=True, deleted_with=keeper))
        local.Command("child", create="true", opts=Opts(parent=box, ignore_changes=["create"], replace_on_changes=["stdin"],
            additional_secret_outputs=["stdout"], delete_before_replace=True, hide_diffs=["stdin"]))
        local.Command("loose", create="true", opts=Opts(parent=box, protect=False))
        """)
    child, loose = by_name(result)["child"].state, by_name(result)["loose"].state
    keeper = by_name(result)["keeper"].urn
    assert (child["protect"], child["retainOnDelete"], child["deletedWith"]) == (True, True, keeper)
    assert child["ignoreChanges"] == ["create"]
    assert set(child["replaceOnChanges"]) == {"stdin", "triggers[*]"}
    assert child["additionalSecretOutputs"] == ["stdout"]
    assert child["hideDiff"] == ["stdin"]
    assert "protect" not in loose


def test_depends_on_a_component_means_its_resources(run: Run) -> None:
    result = run("""
        import pulumi
        from pulumi import ResourceOptions as Opts
        from pulumi_command import local
        box = pulumi.ComponentResource("shop:a:Box", "box")
        local.Command("inside", create="true", opts=Opts(parent=box))
        local.Command("after", create="true", opts=Opts(depends_on=[box]))
        """)
    assert by_name(result)["after"].dependencies == (urn("shop:a:Box$command:local:Command", "inside"),)


def test_steps_come_in_the_same_order_whatever_the_threads_do(run: Run) -> None:
    text = """
        import pulumi
        from pulumi_command import local
        commands = [local.Command(f"c{n:02}", create="true") for n in range(40)]
        local.Command("all", create=pulumi.Output.all(*[c.stdout for c in commands]).apply(lambda parts: "".join(parts)))
        """
    orders = [[step.name for step in run(text).steps] for _ in range(3)]
    assert orders[0] == ["shop-test", *[f"c{n:02}" for n in range(40)], "all"]
    assert orders[0] == orders[1] == orders[2]


def test_the_json_has_the_shape_of_the_clis(run: Run) -> None:
    document = run("import pulumi\nprint('hello')\npulumi.log.warn('careful')\n", config={"shop:size": "3"}).to_json()
    assert document.pop("duration") > 0
    assert document == {
        "config": {"shop:size": "3"},
        "steps": [
            {
                "op": "create",
                "urn": STACK_URN,
                "newState": {"urn": STACK_URN, "custom": False, "type": "pulumi:pulumi:Stack"},
                "detailedDiff": None,
            }
        ],
        "diagnostics": [
            {"message": "warning: careful\n", "severity": "warning"},
            {"message": "hello\n", "severity": "info"},
        ],
        "changeSummary": {"create": 1},
    }
