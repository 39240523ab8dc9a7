"""A gateway of kind aibrix: what goes together, what is refused, and what its objects close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from components.gateway.envoy_shared_manifests import NOT_FROM_CLIENTS
from components.rendered import commands, objects, releases
from host.system.machine import detected
from stacks.catalog import load
from stacks.catalog.gateways import load_gateways
from stacks.errors import SettingsError
from stacks.plan import GatewayPlan, Plan
from stacks.planning.build import try_plan
from stacks.settings import Settings
from stacks.settings.gateway import AIBrixGateway, EnvoyGateway, FrontGateway, GatewayApi, RoutingStrategy
from tests.support.gateways import EMBEDDED, STACK, VARIANTS, WITH_AIBRIX, told, two_models, variant
from tests.support.stacks import IN_A_NAMESPACE, IN_DOCKER, configuration, plan

Edit = Callable[[dict[str, Any]], None]


def gateway(made: Plan) -> GatewayPlan:
    assert made.gateway
    return made.gateway


def refusals(stack: str, edit: Edit) -> str:
    """Everything that is said against a stack; nothing that works instead is looked for, which takes seconds."""
    settings = Settings.from_config(configuration(stack, edit), detected=detected())
    made, found = try_plan(settings, stack=stack, catalog=load())
    assert made is None
    return "\n".join(found)


def spec(made: Plan, kind: str, name: str = "gateway") -> dict[str, Any]:
    found = [t for t in objects(made).values() if t["kind"] == kind and t["metadata"]["name"] == name]
    (thing,) = found
    inner: dict[str, Any] = thing["spec"]
    return inner


def test_both_kinds_share_what_every_front_gateway_has() -> None:
    shared = set(FrontGateway.model_fields)
    assert shared == set(EnvoyGateway.model_fields) & set(AIBrixGateway.model_fields) - {"kind"}
    assert set(GatewayApi.model_fields) == set(EnvoyGateway.model_fields) - {"oidc"} | {"envoy_gateway", "chart"}
    assert shared == {"port", "expose", "hosts", "tls", "requests_per_minute"}


def test_every_strategy_of_a_stack_file_is_one_that_some_version_has_and_the_other_way_round() -> None:
    entries = load_gateways().aibrix.values()
    assert set(RoutingStrategy.__args__) == {name for entry in entries for name in entry.routing}  # type: ignore[attr-defined]


def test_the_image_of_every_part_is_in_the_catalogue_and_pinned_by_tag() -> None:
    parts = {part.part: part.image for part in gateway(plan(STACK)).parts}
    assert (
        set(parts)
        == {"envoy-gateway", "envoy", "shutdown-manager", "gateway-plugins", "redis"}
        == set(load_gateways().sizes)
    )
    assert parts["gateway-plugins"] == "docker.io/aibrix/gateway-plugins:v0.7.0"
    older = gateway(variant("0.5")).aibrix
    assert older
    assert older.plugin.image == "docker.io/aibrix/gateway-plugins:v0.5.0"
    assert [name for name, image in parts.items() if "@sha256:" not in image] == ["gateway-plugins"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"envoyGateway": "1.2.8"}, "CVE-2026-22771"),
        ({"envoyGateway": "1.6.1"}, "CVE-2026-22771"),
        ({"envoyGateway": "1.8.3"}, "is not known to work with AIBrix 0.7"),
        ({"version": "0.5", "routing": "session-affinity"}, "Write version: '0.7', or one of random"),
        ({"version": "0.5", "routing": "least-kv-cache"}, "reads vllm:gpu_cache_usage_perc, which deepseek-r1-1-5b"),
        ({"version": "0.5", "routing": "least-kv-cache"}, "Write version: '0.7'"),
        ({"routing": "least-gpu-cache"}, "It works without: random, least-request"),
        ({"routing": "least-latency"}, "Prometheus"),
        ({"routing": "slo"}, "optimizer"),
        ({"routing": "pd"}, "prefill"),
        ({"routing": "vtc-basic"}, "header `user`"),
        ({"port": 8443}, "node ports that the machine reaches"),
        ({"expose": "lan", "hosts": ["10.0.0.9"]}, "Write expose: loopback"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_does(settings: dict[str, Any], said: str) -> None:
    assert said in refusals(STACK, told(**settings))


def test_a_vulnerable_envoy_gateway_is_refused_with_the_nearest_that_is_not() -> None:
    assert "The nearest that works: 1.9.1" in refusals(STACK, told(envoyGateway="1.5.6"))
    table = load_gateways()
    good = ["1.5.7", "1.6.2", "1.7.0", "1.9.1"]
    assert [v for v in ("1.2.8", "1.4.9", "1.5.6", "1.6.0", "1.6.1", *good) if not table.is_vulnerable(v)] == good
    for entry in table.aibrix.values():
        assert not [v for v in entry.envoy_gateways.value if table.is_vulnerable(v)]


@pytest.mark.parametrize("stack", [EMBEDDED, IN_DOCKER[0], IN_A_NAMESPACE[0]])
def test_clusters_that_cannot_have_it_name_the_kind_that_they_can(stack: str) -> None:
    wanted = "none" if stack in IN_A_NAMESPACE else "envoy"
    assert f"Write kind: {wanted}" in refusals(stack, told())


def test_an_older_kubernetes_is_refused() -> None:
    from stacks.plan.cluster import K3sPlan
    from stacks.planning.draft import Notes
    from stacks.planning.envoy_gateway import _check_kubernetes

    made = plan(STACK).cluster
    assert isinstance(made, K3sPlan)
    notes, entry = Notes(), load_gateways().envoy_gateways["1.9.1"]
    _check_kubernetes(made, "1.9.1", entry, notes)
    assert notes.refusals == []
    _check_kubernetes(made.model_copy(update={"kubernetes": "v1.31.4+k3s1"}), "1.9.1", entry, notes)
    assert "the nearest is 1.33" in notes.refusals[0]


def test_settings_of_the_other_kind_and_versions_that_are_none_are_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        plan(STACK, told(aliases=[], envoyGateway="latest", version="0.6"))
    for path in ("gateway.aliases", "gateway.envoyGateway", "gateway.version"):
        assert path in str(caught.value)


def test_all_parts_count_in_the_budgets_of_the_node() -> None:
    with_it, without = plan(STACK), plan(STACK, lambda config: config.pop("gateway"))
    need = {b.name: b.need for b in with_it.budgets}
    before = {b.name: b.need for b in without.budgets}
    own = gateway(with_it)
    # 512 + 192 + 96 + 1024 + 128 MiB, and 50 + 100 + 10 + 100 + 25 thousandths of a processor
    assert (own.node_memory_mib, own.cpu_millis, sum(part.memory_request_mib for part in own.parts)) == (1952, 285, 512)
    assert need["host memory"] - before["host memory"] == pytest.approx(1952 / 1024, abs=0.002)
    assert need["processors"] - before["processors"] == pytest.approx(0.285)


def test_a_machine_without_a_processor_left_for_it_is_refused() -> None:
    def edit(config: dict[str, Any]) -> None:
        config["machine"]["cpus"] = 3

    assert "and the gateway request 2.285 processors" in refusals(STACK, edit)
    assert plan(STACK, lambda config: (edit(config), config.pop("gateway"))[0])


def test_the_plan_says_that_it_never_ran() -> None:
    decisions = {d.name: d for d in plan(STACK).decisions}
    assert decisions["gateway.verified"].kind == "degraded"
    assert "16740 MiB" in decisions["gateway.sizes"].reason


def test_the_release_enables_patches_and_names_every_image() -> None:
    (told_,) = releases(plan(STACK)).values()
    config = told_["values"]["config"]["envoyGateway"]
    assert config["extensionApis"] == {"enableEnvoyPatchPolicy": True}
    manager = config["provider"]["kubernetes"]["shutdownManager"]["image"]
    assert manager == told_["values"]["global"]["images"]["envoyGateway"]["image"]
    assert "v1.9.1@sha256:" in manager
    mirrored = plan(STACK, told(chart="oci://mirror.example/gateway-helm"))
    assert next(iter(releases(mirrored).values()))["chart"] == "oci://mirror.example/gateway-helm"
    assert releases(plan(STACK, lambda config: config.pop("gateway"))) == {}


@pytest.mark.parametrize("name", VARIANTS)
def test_keys_are_asked_for_on_the_gateway_and_no_policy_of_a_route_takes_that_ones_place(name: str) -> None:
    made = variant(name)
    policies = [t for t in objects(made).values() if t["kind"] == "SecurityPolicy"]
    (policy,) = policies
    assert [ref["kind"] for ref in policy["spec"]["targetRefs"]] == ["Gateway"]
    assert policy["spec"]["apiKeyAuth"]["sanitize"]
    (traffic,) = [t for t in objects(made).values() if t["kind"] == "ClientTrafficPolicy"]
    removed = traffic["spec"]["headers"]["earlyRequestHeaders"]["remove"]
    assert removed == list(NOT_FROM_CLIENTS)
    assert {"routing-strategy", "target-pod", "user", "x-client-id", "x-model", "x-model-status"} <= set(removed)
    assert traffic["spec"]["connection"]["bufferLimit"] == made.gateway.request_buffer_bytes  # type: ignore[union-attr]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_path_of_a_model_has_a_fallback_and_every_other_an_end(name: str) -> None:
    made = variant(name)
    routes = {t["metadata"]["name"]: t["spec"]["rules"] for t in objects(made).values() if t["kind"] == "HTTPRoute"}
    covered = {path_of(match) for match in routes["gateway-fallback"][-1]["matches"]}
    assert all("headers" not in match for match in routes["gateway-fallback"][-1]["matches"])
    for model in gateway(made).names:
        by_body, by_address, *refused = routes[f"model-{model}"]
        assert {path_of(match) for match in by_body["matches"]} <= covered
        assert all(match["headers"][0]["value"] == model for match in by_body["matches"])
        # its own address has a fallback too, which is the third refusal
        ours = {path_of(match) for match in refused[2]["matches"]}
        assert all("headers" not in match for match in refused[2]["matches"])
        assert {path_of(match) for match in by_address["matches"]} == ours
        assert {path for path, _ in ours} == {f"/models/{model}{path}" for path, _ in map(path_of, by_body["matches"])}
    (end,) = routes["gateway-closed"]
    assert end["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_filters_of_the_first_route_that_matches_are_all_that_a_request_needs(name: str) -> None:
    """Which is the one without a header: x-model is not there before the body is read."""
    for thing in objects(variant(name)).values():
        if thing["kind"] != "HTTPRoute" or thing["metadata"]["name"] in ("gateway-closed", "gateway-listing"):
            continue
        for rule in thing["spec"]["rules"]:
            refs = [f["extensionRef"]["name"] for f in rule["filters"] if f["type"] == "ExtensionRef"]
            asks = rule["matches"][0]["method"] == "GET"
            assert asks or refs[0] == "gateway-engine-key"
            assert ("backendRefs" in rule) == (len(rule["filters"]) > 2)


@pytest.mark.parametrize("name", WITH_AIBRIX)
def test_the_plugin_sees_every_route_that_leads_to_an_engine_and_the_fallback(name: str) -> None:
    made = variant(name)
    plugin = spec(made, "EnvoyExtensionPolicy")
    targets = {ref["name"] for ref in plugin["targetRefs"]}
    assert targets == {"gateway-fallback", *(f"model-{model.name}" for model in made.models)}
    assert plugin["extProc"][0]["failOpen"] is False


def test_without_aibrix_nothing_of_it_is_there() -> None:
    for name in set(VARIANTS) - set(WITH_AIBRIX):
        text = str(objects(variant(name)))
        assert "gateway-plugins" not in text
        assert "redis" not in text
        assert "target-pod" not in str(spec(variant(name), "BackendTrafficPolicy"))


def test_an_alias_shares_its_requests_by_weight_and_keeps_sessions() -> None:
    made = variant("embedded")
    by_body = spec(made, "HTTPRoute", "model-chat")["rules"][0]
    assert [ref["weight"] for ref in by_body["backendRefs"]] == [9, 1]
    balancer = spec(made, "BackendTrafficPolicy")["loadBalancer"]["consistentHash"]
    assert (balancer["type"], balancer["cookie"]["name"]) == ("Cookie", "lab-session")
    balancer = spec(variant("Envoy Gateway alone"), "BackendTrafficPolicy")["loadBalancer"]["consistentHash"]
    assert balancer == {"type": "Headers", "headers": [{"name": "x-session-id"}]}


def path_of(match: dict[str, Any]) -> tuple[str, str]:
    return match["path"]["value"], match["method"]


def test_a_replica_is_chosen_among_the_models_own_and_no_route_leads_to_any_address() -> None:
    made = plan(STACK)
    balancer = spec(made, "BackendTrafficPolicy")["loadBalancer"]
    assert balancer["endpointOverride"] == {"extractFrom": [{"header": "target-pod"}]}
    assert "ORIGINAL_DST" not in str(objects(made))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_body_is_read_behind_the_keys_and_before_all_else(name: str) -> None:
    made = variant(name)
    patches = spec(made, "EnvoyPatchPolicy")["jsonPatches"]
    named = {patch["name"] for patch in patches if not patch["type"].endswith("Cluster")}
    assert named == {f"local-ai-lab-{made.stack}/gateway/clients"}
    filters = [p["operation"] for p in patches if "http_filters" in p["operation"]["path"]]
    assert [operation["value"]["name"] for operation in filters] == [
        "envoy.filters.http.header_mutation",
        "envoy.filters.http.json_to_metadata",
        "envoy.filters.http.local_ratelimit",  # added last at the same place, so that it is the first
    ]
    assert {operation["path"] for operation in filters} == {"/typed_config/http_filters/1"}
    (hosts,) = [p["operation"]["value"] for p in patches if p["operation"]["path"].endswith("/domains")]
    assert hosts == list(gateway(made).hosts)


def test_what_closes_the_gateway_is_made_before_any_route() -> None:
    order = [(t["kind"], t["metadata"]["name"]) for t in objects(plan(STACK, two_models)).values()]
    first = min(n for n, (kind, _) in enumerate(order) if kind == "HTTPRoute")
    for kind in ("SecurityPolicy", "ClientTrafficPolicy", "BackendTrafficPolicy"):
        assert order.index((kind, "gateway")) < first


def test_engines_are_reached_by_envoy_and_the_plugin_alone_and_found_by_label() -> None:
    made = objects(plan(STACK))
    (model,) = plan(STACK).models
    policy = next(t for t in made.values() if t["kind"] == "NetworkPolicy" and t["metadata"]["name"] == model.name)
    (ingress,) = policy["spec"]["ingress"]
    assert [sorted(source) for source in ingress["from"]] == [["namespaceSelector", "podSelector"], ["podSelector"]]
    engine = next(t for t in made.values() if t["kind"] == "Deployment" and t["metadata"]["name"] == model.name)
    labels = engine["spec"]["template"]["metadata"]["labels"]
    assert (labels["model.aibrix.ai/name"], labels["model.aibrix.ai/port"]) == (model.name, "8000")
    assert "model.aibrix.ai/name" not in engine["spec"]["selector"]["matchLabels"]
    other = objects(plan(STACK, lambda config: config.update(gateway={"kind": "envoy"})))
    assert "model.aibrix.ai" not in str(other)


def test_no_key_is_in_any_object_or_command() -> None:
    made = plan(STACK)
    secrets = [t for t in objects(made).values() if t["kind"] == "Secret"]
    assert secrets == []
    assert commands(made)["gateway-secrets"].environment["LAB_SPEC"].startswith('{"hosts":')
    assert '"kind":"aibrix"' in commands(made)["gateway-secrets"].environment["LAB_SPEC"]


@pytest.mark.parametrize(("version", "buffer", "variable"), [("0.7", 4_194_304, "5242880"), ("0.5", 4_128_768, None)])
def test_a_body_fits_into_a_message_to_the_plugin(version: str, buffer: int, variable: str | None) -> None:
    made = plan(STACK, told(version=version))
    assert made.gateway
    assert made.gateway.request_buffer_bytes == buffer  # 0.5 takes 4 MiB with what is beside the body
    plugin = spec(made, "Deployment", "gateway-plugins")["template"]["spec"]["containers"][0]
    environment = {entry["name"]: entry.get("value") for entry in plugin["env"]}
    assert environment.get("AIBRIX_GRPC_MAX_MESSAGE_SIZE_BYTES") == variable
    assert environment["ROUTING_ALGORITHM"] == "least-request"


def test_adapters_are_refused_whose_names_no_route_knows() -> None:
    module = {"name": "sql", "repository": "somebody/sql-lora", "revision": "a" * 40}
    said = refusals(STACK, lambda own: own["models"][0].update(lora={"adapters": 1, "modules": [module]}))
    assert "serves LoRA adapters" in said and "gateway.kind: envoy" in said
