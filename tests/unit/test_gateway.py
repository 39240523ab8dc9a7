"""The gateway in stack files and plans, and the configuration that follows: hand-computed, and one golden file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.docker.compose_manifests import compose_file
from components.gateway.envoy_manifests import bootstrap
from components.rendered import Name, objects
from stacks.errors import PlanError, SettingsError
from stacks.plan import DockerPlan, GatewayPlan, Plan
from stacks.planning.gateway import limits
from tests.support.golden import assert_golden
from tests.support.stacks import IN_DOCKER, STACKS, configuration, plan, roomy

STACK = IN_DOCKER[0]
ON_OWN_CLUSTERS = [s for s in STACKS if configuration(s)["cluster"]["driver"] in ("embedded", "minikube", "k3s")]
MIB = 2**20


def with_gateway(**told: Any) -> Plan:
    def edit(config: dict[str, Any]) -> None:
        config["gateway"] = {"kind": "envoy", **told}

    return plan(STACK, edit)


def gateway(**told: Any) -> GatewayPlan:
    found = with_gateway(**told).gateway
    assert found is not None
    return found


def test_a_stack_that_says_nothing_has_no_gateway() -> None:
    assert plan(STACK).gateway is None


@pytest.mark.parametrize(
    ("tokens", "buffer", "response", "memory"),
    [
        (8192, 4 * MIB, 65_536, 192),  # 48 KiB are needed, and 4 MiB and 64 KiB are the least; 128 MiB + 16 x 4 MiB
        (131_072, 4 * MIB, 786_432, 192),  # 768 KiB
        (699_051, 4_194_306, MIB, 193),  # the first that needs more than 4 MiB = 4,194,304: 16 bodies are 64.00003 MiB
        (1_048_576, 6 * MIB, MIB, 224),  # 128 + 16 x 6
    ],
)
def test_limits_follow_the_longest_request(tokens: int, buffer: int, response: int, memory: int) -> None:
    assert limits(tokens) == (buffer, response, memory)


def test_a_plan_has_the_limits_of_its_longest_model() -> None:
    found = gateway()
    assert (found.request_buffer_bytes, found.response_buffer_bytes, found.memory_mib) == limits(8192)
    assert (found.requests_per_minute, found.total_requests_per_minute) == (600, 2400)


def test_every_model_answers_at_the_gateway_and_has_no_port_of_its_own() -> None:
    made = with_gateway()
    assert made.auth == "clientKeys"
    assert [model.endpoint for model in made.models] == ["https://127.0.0.1:8443/v1"]
    assert isinstance(made.cluster, DockerPlan)
    services = compose_file(made, made.cluster)["services"]
    assert {name: [p["published"] for p in s["ports"]] for name, s in services.items()} == {
        "llama-3-2-1b": [],
        "gateway": ["8443"],
    }


def two_models(config: dict[str, Any]) -> None:
    config["machine"]["gpus"] = 2
    config["models"].append({**config["models"][0], "name": "second", "port": 30081})


def split(config: dict[str, Any]) -> None:
    two_models(config)
    models = [{"model": "llama-3-2-1b", "weight": 90}, {"model": "second", "weight": 10}]
    aliases = [{"name": "chat", "models": models}, {"name": "next", "models": [{"model": "second"}]}]
    config["gateway"] = {"kind": "envoy", "aliases": aliases, "affinity": {"by": "cookie", "name": "lab-session"}}


def test_an_alias_is_a_name_that_its_engines_take_and_the_first_is_their_own() -> None:
    made = plan(STACK, split)
    told = {model.name: model.args[model.args.index("--served-model-name") + 1 :][:3] for model in made.models}
    assert told == {"llama-3-2-1b": ("llama-3-2-1b", "chat", "--host"), "second": ("second", "chat", "next")}
    assert made.gateway is not None
    assert made.gateway.names == ("llama-3-2-1b", "second", "chat", "next")
    said = {decision.name: decision.value for decision in made.decisions}
    assert said["gateway.alias.chat"] == "90.0% llama-3-2-1b, 10.0% second"
    assert said["gateway.affinity"] == "cookie lab-session"


def test_a_session_s_cookie_is_kept_from_plain_text_where_there_is_tls() -> None:
    found = plan(STACK, split).gateway
    assert found is not None
    for tls, attributes in (("ownCa", ["SameSite", "Secure"]), ("off", ["SameSite"])):
        text = bootstrap(found.model_copy(update={"tls": tls}))
        cookies = [hash_policy["cookie"] for hash_policy in _all(json.loads(text), "hash_policy")]
        assert cookies
        assert {tuple(a["name"] for a in cookie["attributes"]) for cookie in cookies} == {tuple(attributes)}


def _all(value: Any, key: str) -> list[Any]:
    """What stands below every `key` of a document, lists of it as one."""
    if isinstance(value, list):
        return [found for inner in value for found in _all(inner, key)]
    if not isinstance(value, dict):
        return []
    own = value.get(key, [])
    return [*own, *(found for inner in value.values() for found in _all(inner, key))]


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ([{"name": "second", "models": [{"model": "second"}]}], "is the name of a model"),
        ([{"name": "x", "models": [{"model": "third"}]}], "is no model of this stack"),
        ([{"name": "x", "models": [{"model": "second"}, {"model": "second"}]}], "stands there already"),
        (2 * [{"name": "x", "models": [{"model": "second"}]}], "of another alias"),
        ([{"name": "x", "models": []}], "aliases"),
        ([{"name": "a/b", "models": [{"model": "second"}]}], "aliases"),
        ([{"name": "x", "models": [{"model": "second", "weight": 0}]}], "weight"),
    ],
)
def test_an_alias_that_leads_nowhere_is_refused(aliases: list[Any], said: str) -> None:
    def edit(config: dict[str, Any]) -> None:
        two_models(config)
        config["gateway"] = {"kind": "envoy", "aliases": aliases}

    with pytest.raises(SettingsError, match=said):
        plan(STACK, edit)


def test_wrong_aliases_are_said_beside_what_else_is_wrong() -> None:
    def edit(config: dict[str, Any]) -> None:
        config["machine"]["cpus"] = "two"
        config["gateway"] = {"kind": "envoy", "aliases": [{"name": "x", "models": [{"model": "third"}]}]}

    with pytest.raises(SettingsError) as refused:
        plan(STACK, edit)
    assert "cpus" in str(refused.value)
    assert "is no model of this stack" in str(refused.value)


@pytest.mark.parametrize("name", ["authorization", "x-model", "X-Session", "a b"])
def test_a_session_s_header_has_no_other_meaning(name: str) -> None:
    with pytest.raises(SettingsError, match="affinity"):
        gateway(affinity={"by": "header", "name": name})


def test_engines_share_no_network_with_each_other() -> None:
    def edit(config: dict[str, Any]) -> None:
        config["gateway"] = {"kind": "envoy"}
        config["machine"]["gpus"] = 2
        config["models"].append({**config["models"][0], "name": "second", "port": 30081})

    made = plan(STACK, edit)
    assert isinstance(made.cluster, DockerPlan)
    document = compose_file(made, made.cluster)
    joined = {name: set(service["networks"]) for name, service in document["services"].items()}
    assert joined["llama-3-2-1b"] & joined["second"] == set()
    assert joined["gateway"] == {"engines", "llama-3-2-1b", "second"}
    assert joined["gateway"] <= set(document["networks"])


def test_the_lan_is_served_only_where_it_is_asked_for() -> None:
    assert gateway().address == "127.0.0.1"
    found = gateway(expose="lan", hosts=["192.168.1.20"])
    assert found.address == "0.0.0.0"  # noqa: S104  (asked for)
    assert found.hosts == ("192.168.1.20", "127.0.0.1", "localhost")
    assert found.url == "https://192.168.1.20:8443/v1"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"expose": "lan"}, "clients need a name"),
        ({"expose": "lan", "hosts": ["localhost"]}, "clients need a name"),
        ({"expose": "lan", "hosts": ["a"], "tls": "off"}, "clear text"),
        ({"port": 80}, "too small"),
        ({"hosts": ["*"]}, "form"),
    ],
)
def test_what_would_be_open_is_refused(told: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        gateway(**told)


def on_cluster(stack: str, **told: Any) -> Plan:
    return plan(stack, lambda config: config.update(gateway={"kind": "envoy", **told}))


@pytest.mark.long
def test_somebody_else_s_cluster_has_none_yet_and_the_refusal_says_what_works() -> None:
    with pytest.raises(PlanError, match=r"not implemented in this version\. Write kind: none"):
        on_cluster("existing-a100")


@pytest.mark.parametrize(
    ("told", "said"),
    [({"port": 8443}, "30080 to 30095"), ({"expose": "lan", "hosts": ["192.168.1.20"]}, "open on 127.0.0.1 only")],
)
def test_a_port_that_a_cluster_does_not_open_is_refused(told: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        on_cluster("rtx2060", **told)


@pytest.mark.parametrize("stack", ON_OWN_CLUSTERS)
def test_a_cluster_s_gateway_has_the_configuration_that_docker_s_has(stack: str) -> None:
    made = on_cluster(stack)
    assert made.gateway is not None
    found = objects(made)
    assert found[Name("ConfigMap", "gateway-configuration")]["data"] == {"bootstrap.json": bootstrap(made.gateway)}
    container = found[Name("Deployment", "gateway")]["spec"]["template"]["spec"]["containers"][0]
    assert [*container["command"], *container["args"]] == ["envoy", *gateway_service()["command"]]
    (port,) = found[Name("Service", "gateway-service")]["spec"]["ports"]
    assert port["nodePort"] == made.gateway.port == 30095
    assert all(model.endpoint == made.gateway.url for model in made.models)


def gateway_service() -> dict[str, Any]:
    made = with_gateway()
    assert isinstance(made.cluster, DockerPlan)
    service: dict[str, Any] = compose_file(made, made.cluster)["services"]["gateway"]
    return service


@pytest.mark.parametrize("stack", ON_OWN_CLUSTERS)
def test_engines_of_a_cluster_are_reached_by_the_gateway_alone_and_have_its_key(stack: str) -> None:
    made = on_cluster(stack)
    found = objects(made)
    assert [name.name for name in found if name.kind == "Service" and name.name.endswith("-endpoint")] == []
    assert Name("Secret", "models-api-key") not in found  # the machine writes it
    backends = {backend.model: backend for backend in made.gateway.backends} if made.gateway else {}
    for model in made.models:
        (ingress,) = found[Name("NetworkPolicy", f"{model.name}-network")]["spec"]["ingress"]
        (source,) = ingress["from"]
        labels = found[Name("Deployment", "gateway")]["spec"]["template"]["metadata"]["labels"]
        assert source["podSelector"]["matchLabels"].items() <= labels.items()
        container = found[Name("Deployment", model.name)]["spec"]["template"]["spec"]["containers"][0]
        keys = [entry for entry in container["env"] if entry["name"] == model.engine.api_key_variable]
        assert [entry["valueFrom"]["secretKeyRef"]["name"] for entry in keys] == ["endpoint-api-key"]
        address = found[Name("Service", f"{model.name}-service")]["spec"]["clusterIP"]
        assert address == backends[model.name].cluster_ip
        assert address in ("None", backends[model.name].host)


def test_addresses_of_the_embedded_cluster_s_services_differ_and_stay_when_a_model_is_added() -> None:
    def models(count: int) -> dict[str, str]:
        def edit(config: dict[str, Any]) -> None:
            roomy(config)
            config["machine"]["cpus"] = 64
            config["gateway"] = {"kind": "envoy"}
            first = config["models"][0]
            config["models"] = [{**first, "name": f"model-{n}", "port": 30080 + n} for n in range(count)]

        made = plan("dev", edit).gateway
        assert made is not None
        return {backend.model: backend.host for backend in made.backends}

    many = models(14)
    assert len(set(many.values())) == 14
    assert many.items() >= models(7).items()


def test_the_configuration_is_what_it_was() -> None:
    assert_golden("gateway/bootstrap.json", bootstrap(gateway()) + "\n")


def test_nothing_secret_is_in_the_configuration_and_keys_come_first() -> None:
    document = json.loads(bootstrap(gateway()))
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert [f["name"].rpartition(".")[2] for f in manager["http_filters"]] == [
        "api_key_auth", "local_ratelimit", "json_to_metadata", "header_mutation", "models_of_clients",
        "credential_injector", "router",
    ]  # fmt: skip
    assert "admin" not in document
    assert "disabled" not in json.dumps(manager["http_filters"])  # every filter is on for every route
