"""No secret leaves the engine: neither in steps, outputs, messages nor reprs."""

from __future__ import annotations

import base64
import json

from tests.engine.conftest import Run, base_state, by_name, messages, recorded

SECRET = "hunter2-very-secret"
PROGRAM = """
import pulumi, pulumi_kubernetes as k8s
from pulumi_command import local
opts = pulumi.ResourceOptions(provider=k8s.Provider("cluster", kubeconfig="/none", cluster_identifier="one"))
key = pulumi.Config().require_secret("key")
k8s.core.v1.Secret("vault", metadata={"name": "vault"}, string_data={"key": key}, opts=opts)
k8s.core.v1.ConfigMap("map", metadata={"name": "map"}, data={"plain": "yes", "hidden": key}, opts=opts)
local.Command("run", create="true", environment={"KEY": key, "OTHER": "plain"}, triggers=[key, "two"])
pulumi.export("key", key)
pulumi.export("nested", {"deep": [key], "open": 1})
"""


def test_secret_values_are_blinded_where_they_stand(run: Run) -> None:
    result = run(PROGRAM, config={"shop:key": SECRET}, secret_keys=frozenset({"shop:key"}))
    steps = by_name(result)
    assert result.ok, messages(result)
    assert steps["vault"].inputs["data"] == "[secret]"
    assert "stringData" not in steps["vault"].inputs
    assert steps["map"].inputs["data"] == {"plain": "yes", "hidden": "[secret]"}
    assert steps["run"].inputs["environment"] == {"KEY": "[secret]", "OTHER": "plain"}
    assert steps["run"].inputs["triggers"] == ["[secret]", "two"]
    assert result.outputs == {"key": "[secret]", "nested": "[secret]"} or result.outputs["nested"] == {"deep": ["[secret]"], "open": 1}
    everything = json.dumps(result.to_json()) + repr(result)
    assert SECRET not in everything
    assert base64.b64encode(SECRET.encode()).decode() not in everything
    assert result.to_json()["config"] == {"shop:key": "[secret]"}


def test_a_secret_that_the_program_prints_is_blinded(run: Run) -> None:
    text = "import pulumi\nprint('token', pulumi.Config().get('key'))\nraise pulumi.RunError('bad ' + pulumi.Config().get('key'))"
    result = run(text, config={"shop:key": SECRET}, secret_keys=frozenset({"shop:key"}))
    assert {item.message for item in result.diagnostics} == {"token [secret]", "bad [secret]"}


def test_a_placeholder_for_a_secret_does_not_look_like_a_change_of_it(run: Run) -> None:
    sealed = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:abc:def"}
    inputs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vault"}, "data": sealed}
    text = PROGRAM.split("k8s.core.v1.ConfigMap", 1)[0]
    state = [*base_state(cluster=True), recorded("kubernetes:core/v1:Secret", "vault", inputs=inputs)]
    result = run(text, config={"shop:key": "[secret]"}, secret_keys=frozenset({"shop:key"}), resources=state)
    assert result.ok, messages(result)
    assert by_name(result)["vault"].op == "same"
    assert "ciphertext" not in json.dumps(result.to_json()) + repr(result)


def test_a_known_secret_that_changed_is_seen_and_stays_hidden(run: Run) -> None:
    opened = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": '"old-secret"'}
    state = [*base_state(), recorded("command:local:Command", "run", inputs={"create": "true", "stdin": opened})]
    text = """
        import pulumi
        from pulumi_command import local
        local.Command("run", create="true", stdin=pulumi.Output.secret("new-secret"))
        """
    result = run(text, resources=state)
    step = by_name(result)["run"]
    assert step.op == "update"
    assert dict(step.detailed_diff or {}) == {"stdin": {"kind": "update", "inputDiff": False}}
    assert "old-secret" not in repr(result)
    assert "new-secret" not in repr(result)


def test_an_additional_secret_output_taints_what_is_made_of_it(run: Run) -> None:
    state = [
        *base_state(),
        recorded("command:local:Command", "run", inputs={"create": "true"}, outputs={"create": "true", "stdout": "token"}),
    ]
    text = """
        import pulumi
        from pulumi_command import local
        run = local.Command("run", create="true", opts=pulumi.ResourceOptions(additional_secret_outputs=["stdout"]))
        pulumi.export("loud", run.stdout.apply(lambda text: text.upper()))
        """
    result = run(text, resources=state)
    assert result.outputs == {"loud": "[secret]"}
