"""LoRA adapters from the stack file to the engine's arguments, the cache, the gateway and the check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from components.gateway.envoy_route_manifests import routes
from components.rendered import commands, compose_document, objects
from stacks.catalog import load
from stacks.errors import PlanError, SettingsError
from stacks.plan import Plan
from stacks.planning.build import build_plan
from stacks.planning.engines.vllm.memory import EngineRun, adapter_file_gib
from stacks.planning.engines.vllm.memory.adapters import adapters_gib
from stacks.planning.engines.vllm.networks import network
from stacks.settings import Settings

COMMITS = ("a" * 40, "b" * 40)
SQL, POEMS = (
    {"name": name, "repository": f"Owner/{name}_Adapter", "revision": commit}
    for name, commit in zip(("sql", "poems"), COMMITS, strict=True)
)
LORA: dict[str, Any] = {"adapters": 2, "rank": 16, "modules": [SQL, POEMS]}
FOLDERS = (f"owner-sql-adapter-{'a' * 12}", f"owner-poems-adapter-{'b' * 12}")
MODEL = "qwen2.5-7b-instruct"


def planned(model: str = MODEL, *, driver: str = "minikube", lora: dict[str, Any] | None = None, **more: Any) -> Plan:
    spec: dict[str, Any] = {"name": "m", "model": model, "contextTokens": 4096, "concurrentRequests": 4}
    machine = {"kind": "nvidia", "gpu": "rtx-4090", "gpus": 1, "memoryGiB": 64, "cpus": 16}
    spec |= {"lora": lora} if lora else {}
    config = {"machine": machine, "cluster": {"driver": driver}, "models": [spec], **more}
    return build_plan(Settings.from_config(config), stack="test")


@pytest.mark.parametrize("driver", ["minikube", "docker"])
def test_adapters_are_fetched_beside_the_weights_and_told_to_the_engine(driver: str) -> None:
    plan = planned(driver=driver, lora=LORA)
    (model,) = plan.models
    place = model.args.index("--lora-modules") + 1
    told = [word for word in model.args[place:] if not word.startswith("--")]
    assert told == [f"sql=/models/{FOLDERS[0]}", f"poems=/models/{FOLDERS[1]}"]
    fetched = {name for name in commands(plan) if name.endswith("-weights")}
    assert fetched == {"m-weights", "m.sql-weights", "m.poems-weights"}
    assert [w.directory for w in model.all_weights[1:]] == list(FOLDERS)
    assert all(
        '"largestRank":16' in commands(plan)[f"m.{name}-weights"].environment["LAB_SPEC"] for name in ("sql", "poems")
    )
    downloads = [change.what for change in plan.host_changes if "of weights" in change.what]
    assert len(downloads) == 3
    if driver == "docker":
        assert f"sql=/models/{FOLDERS[0]}" in compose_document(plan)["services"]["m"]["command"]
    else:
        assert any(f"sql=/models/{FOLDERS[0]}" in str(thing) for thing in objects(plan).values())


def test_files_count_for_the_disk_and_the_time_to_fetch_them_and_loaded_ones_for_ram() -> None:
    room, plan = planned(lora={"adapters": 2}), planned(lora=LORA)
    (without,), (model,) = room.models, plan.models
    each = adapter_file_gib(network(load().model(MODEL)), 16)
    little, much = (next(b.need for b in p.budgets if b.name == "disk") for p in (room, plan))
    assert much - little >= 2 * each - 0.01
    assert model.memory == without.memory  # the slots are there already
    assert model.resources.memory_limit_mib > without.resources.memory_limit_mib
    assert room.models[0].adapters == ()


def test_one_adapter_over_all_projections_of_llama_has_the_size_that_peft_prints() -> None:
    shape = network(load().model("llama-3.1-8b-instruct"))
    assert round(adapter_file_gib(shape, 16) * 2**30 / 4) == 41_943_040  # trainable parameters of rank 16


def test_every_expert_has_slots_and_the_tables_have_theirs_unless_the_vocabulary_is_too_large() -> None:
    shape = network(load().model("qwen3-30b-a3b"))
    run = EngineRun(architecture=shape, version="0.31.0", total_gib=80.0, max_loras=1, max_lora_rank=16)
    experts = 48 * 128 * 3 * (2048 + 768) * 16 * 2 / 2**30
    assert experts < adapters_gib(run) < experts + 0.1
    larger = replace(run, architecture=replace(shape, vocabulary=262_144))
    assert adapters_gib(larger) < adapters_gib(run)
    assert adapters_gib(run) / 2 < adapters_gib(replace(run, tensor_parallel=2)) < adapters_gib(run)


def test_the_gateway_leads_an_adapter_to_its_model_and_lists_it() -> None:
    plan = planned(driver="docker", lora=LORA, gateway={"kind": "envoy"})
    assert plan.gateway is not None
    assert plan.gateway.names == ("m", "sql", "poems")
    table = routes(plan.gateway)["virtual_hosts"][0]["routes"]
    assert '"sql"' in table[0]["direct_response"]["body"]["inline_string"]
    led = {
        r["name"]: r["route"]["cluster"]
        for r in table
        if r["match"].get("path") == "/v1/chat/completions" and "route" in r
    }
    assert led == {"m": "model_m", "sql": "model_m", "poems": "model_m"}


def test_the_check_is_told_of_them_and_a_model_without_is_told_as_ever() -> None:
    told, plain = planned(lora=LORA).models[0].target, planned().models[0].target
    assert (told["adapters"], "adapters" in plain) == (["sql", "poems"], False)


def test_more_than_may_be_used_at_once_is_said() -> None:
    (model,) = planned(lora={**LORA, "adapters": 1}).models
    decision = next(d for d in model.decisions if d.name == "loraModules")
    assert (decision.kind, decision.value) == ("degraded", "2")
    assert "at most 1 in one step" in decision.reason


@pytest.mark.parametrize(
    ("model", "change", "said"),
    [
        (MODEL, {"name": "m"}, "models[0].lora.modules[0].name\n    m is the name of a model or of another adapter"),
        (
            MODEL,
            {"name": "poems"},
            "models[0].lora.modules[1].name\n    poems is the name of a model or of another adapter",
        ),
        (MODEL, {"revision": "main"}, "models[0].lora.modules[0].revision"),
        (MODEL, {"repository": "../etc"}, "models[0].lora.modules[0].repository"),
        ("qwen3-embedding-0.6b", {}, "lora.modules are not offered for embedding"),
    ],
)
def test_what_cannot_be_served_is_refused(model: str, change: dict[str, str], said: str) -> None:
    with pytest.raises((PlanError, SettingsError)) as refused:
        planned(model, lora={**LORA, "modules": [{**SQL, **change}, POEMS]})
    assert said in str(refused.value).replace("local-ai-lab:", "")


def test_an_alias_cannot_take_an_adapter_s_name() -> None:
    gateway = {"kind": "envoy", "aliases": [{"name": "sql", "models": [{"model": "m"}]}]}
    with pytest.raises(SettingsError, match="sql is the name of a model, of an adapter or of another alias"):
        planned(driver="docker", lora=LORA, gateway=gateway)
    with pytest.raises(SettingsError, match="sql is the name of a model, of an adapter or of another alias"):
        planned(driver="docker", lora=LORA, gateway=gateway, objective="fast")
