"""What the embedded engine does not do it names, with what to do instead; and what Pulumi refuses it refuses too."""

from __future__ import annotations

import pytest

from engine import EngineError
from tests.engine.conftest import Run, by_name, messages

HEAD = """
import pulumi, pulumi_kubernetes as k8s
from pulumi import ResourceOptions as Opts
from pulumi_command import local, remote
opts = Opts(provider=k8s.Provider("cluster", kubeconfig="/none", cluster_identifier="one"))
"""


class Other:
    """Texts of programs that use what is refused, with the words that name it."""

    CASES = (
        ('pulumi.CustomResource("aws:s3/bucket:Bucket", "b", {})', "the resource type aws:s3/bucket:Bucket"),
        ('remote.Command("r", connection={"host": "h"}, create="true")', "the resource type command:remote:Command"),
        ('local.Command("c", create="true", asset_paths=["*"])', "assetPaths of the Command c"),
        ('local.Command("c", create="true", opts=Opts(import_="x"))', "the option import_"),
        ('local.Command("c", create="true", opts=Opts(transforms=[lambda args: None]))', "transforms"),
        ('c = local.Command("c", create="true")\nlocal.Command("d", create="true", opts=Opts(replace_with=[c]))', "ReplaceWith"),
        ('local.Command("c", create="true", opts=Opts(replacement_trigger="x"))', "the option replacement_trigger"),
        ('k8s.core.v1.ConfigMap.get("m", "ns/m", opts=opts)', "reading kubernetes:core/v1:ConfigMap m"),
        ('k8s.core.v1.ConfigMapList("l", items=[], opts=opts)', "the resource type kubernetes:core/v1:ConfigMapList"),
        ('k8s.helm.v4.Chart("c", chart="x", opts=opts)', "the remote component kubernetes:helm.sh/v4:Chart c"),
        ('k8s.yaml.v2.ConfigGroup("g", yaml="a: b", opts=opts)', "the remote component kubernetes:yaml/v2:ConfigGroup g"),
        ('k8s.yaml.ConfigGroup("g", yaml=["a: b"], opts=opts)', "the function kubernetes:yaml:decode"),
        ('pulumi.StackReference("other")', "reading pulumi:pulumi:StackReference other"),
        (
            "import pulumi.dynamic as d\nclass R(d.Resource):\n"
            '    def __init__(self): super().__init__(d.ResourceProvider(), "x", {})\nR()',
            "the dynamic provider resource pulumi-python:dynamic",
        ),
        (
            'hook = pulumi.ResourceHook("h", print)\n'
            'local.Command("c", create="true", opts=Opts(hooks=pulumi.ResourceHookBinding(before_create=[hook])))',
            "hooks",
        ),
    )


@pytest.mark.parametrize(("text", "named"), Other.CASES, ids=[named for _, named in Other.CASES])
def test_it_names_what_only_the_cli_can_do(run: Run, text: str, named: str) -> None:
    result = run(HEAD + text)
    assert not result.ok
    assert named in messages(result)
    assert "not in the embedded engine" in messages(result)
    assert "install the Pulumi CLI" in messages(result)
    assert "Traceback" not in messages(result)
    assert "update the Pulumi CLI" not in messages(result)


def test_a_refused_resource_does_not_hide_the_rest(run: Run) -> None:
    result = run(
        HEAD
        + """
b = pulumi.CustomResource("aws:s3/bucket:Bucket", "b", {})
pulumi.CustomResource("aws:s3/bucket:Bucket", "c", {})
local.Command("after", create="true", opts=Opts(depends_on=[b]))
"""
    )
    assert len([item for item in result.diagnostics if item.severity == "error"]) == 2
    assert by_name(result)["after"].op == "create"


@pytest.mark.parametrize(
    "text",
    [
        'k8s.helm.v3.Release("x", chart="nginx", version="1.2.3", opts=opts)',
        'k8s.apps.v1.DeploymentPatch("x", metadata={"name": "d"}, opts=opts)',
    ],
)
def test_helm_releases_and_patches_are_listed_with_a_warning(run: Run, text: str) -> None:
    result = run(HEAD + text)
    assert result.ok, messages(result)
    assert by_name(result)["x"].op == "create"
    assert "previewed here, applied by the Pulumi CLI only" in messages(result)
    assert [item.severity for item in result.diagnostics] == ["warning"]


def test_a_disabled_default_provider_gives_the_clis_message(run: Run) -> None:
    result = run(
        'import pulumi_kubernetes as k8s\nk8s.core.v1.Namespace("n")', config={"pulumi:disable-default-providers": '["kubernetes"]'}
    )
    urn = "urn:pulumi:test::shop::kubernetes:core/v1:Namespace::n"
    assert not result.ok
    assert messages(result) == f"Default provider for 'kubernetes' disabled. '{urn}' must use an explicit provider."
    assert result.diagnostics[0].urn == urn


@pytest.mark.parametrize("text", ["kubernetes", "[1]", "{}"])
def test_disabled_default_providers_must_be_a_list_of_names(run: Run, text: str) -> None:
    with pytest.raises(EngineError, match="list of package names"):
        run("import pulumi", config={"pulumi:disable-default-providers": text})


def test_a_duplicate_name_is_an_error(run: Run) -> None:
    result = run('from pulumi_command import local\nlocal.Command("c", create="true")\nlocal.Command("c", create="false")')
    assert not result.ok
    assert "Duplicate resource URN 'urn:pulumi:test::shop::command:local:Command::c'; try giving it a unique name" in messages(result)


def test_numbers_in_a_commands_environment_are_refused_as_the_provider_does(run: Run) -> None:
    result = run('from pulumi_command import local\nlocal.Command("c", create="true", environment={"A": "1", "N": 5})')
    assert not result.ok
    assert "environment values must be text: N" in messages(result)


def test_a_duration_that_is_none_is_refused(run: Run) -> None:
    result = run(HEAD + 'local.Command("c", create="true", opts=Opts(custom_timeouts=pulumi.CustomTimeouts(create="soon")))')
    assert not result.ok
    assert "'soon' is not a duration" in messages(result)
