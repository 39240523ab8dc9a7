"""Sharing of cards: what is refused and with which words, what each way gives the device plugin, and what must fit."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from stacks.catalog import load
from stacks.errors import PlanError, SettingsError
from stacks.plan import MinikubePlan, Plan
from stacks.planning.build import build_plan
from stacks.planning.clusters import DRIVERS
from stacks.planning.edits import apply_edits
from stacks.planning.gpus.device_plugin import MODES
from stacks.settings import Settings
from tests.support.stacks import ROOT, configuration

SMALL = "llama-3.2-1b-instruct"


def config(pods: dict[str, Any] | None = None, *, driver: str = "k3s", replicas: int = 2, **machine: Any) -> Any:
    model = {"name": "m", "model": SMALL, "contextTokens": 2048, "concurrentRequests": 2, "replicas": replicas}
    card = {"kind": "nvidia", "gpu": "a100-40gb", "memoryGiB": 128, "cpus": 32, **machine}
    own: dict[str, Any] = {"machine": card, "cluster": {"driver": driver}, "models": [model]}
    return {**own, "gpu": pods} if pods else own


def planned(own: dict[str, Any]) -> Plan:
    return build_plan(Settings.from_config(own), stack="test")


def refusals(own: dict[str, Any]) -> str:
    with pytest.raises(PlanError) as raised:
        planned(own)
    return "\n".join(raised.value.refusals)


def sharing(kind: str, **more: Any) -> dict[str, Any]:
    return {"sharing": {"kind": kind, **more}}


# gpu settings, driver, machine -> what the refusal says
UNSUITED: dict[str, tuple[dict[str, Any], str, dict[str, Any], tuple[str, ...]]] = {
    "MIG on a GeForce": (
        sharing("mig", profile="1g.5gb"), "k3s", {"gpu": "rtx-4090"}, ("RTX 4090 cannot be divided", "a100-40gb"),
    ),
    "MIG on an L40": (sharing("mig", profile="1g.5gb"), "k3s", {"gpu": "l40"}, ("L40 cannot be divided",)),
    "a profile of another card": (
        sharing("mig", profile="1g.10gb"), "k3s", {"gpu": "h200"}, ("has no 1g.10gb", "1g.18gb (7 a card)"),
    ),
    "MIG under WSL2": (
        sharing("mig", profile="2g.12gb"), "minikube", {"gpu": "rtx-4090", "platform": "wsl2"},
        ("mig does not exist under WSL2", "write kind: timeSlicing"),
    ),
    "MIG with an old driver": (
        sharing("mig", profile="1g.10gb"), "k3s", {"gpu": "h100", "nvidiaDriver": "515.65"},
        ("needs driver 525 or newer", "nvidiaDriver is 515.65"),
    ),
    "MPS under WSL2": (
        sharing("mps"), "k3s", {"gpu": "rtx-4090", "platform": "wsl2"}, ("mps does not exist under WSL2",),
    ),
    "MPS beside a desktop": (sharing("mps"), "k3s", {"gpu": "rtx-4090", "display": True}, ("EXCLUSIVE_PROCESS",)),
    "MPS in minikube": (sharing("mps"), "minikube", {"gpu": "rtx-4090"}, ("minikube's node is a container",)),
    "MPS where memory is the system's": (
        sharing("mps"), "k3s", {"gpu": "dgx-spark"}, ("never seen to work where memory is shared",),
    ),
    "time-slicing of a patched add-on": (
        {**sharing("timeSlicing"), "devicePlugin": "patched"}, "minikube", {"gpu": "rtx-4090"},
        ("patched gives the plugin no configuration", "write devicePlugin: owned"),
    ),
    "a patched plugin that nobody runs": (
        {"devicePlugin": "patched"}, "k3s", {"gpus": 2}, ("k3s runs none", "write devicePlugin: owned or existing"),
    ),
    "fewer shares than engines": (
        sharing("timeSlicing", replicas=2), "k3s", {"gpu": "a100-40gb", "replicas": 3},
        ("replicas is 2, and 3 engines share a card", "write replicas: 3"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSUITED)
def test_an_unsuited_way_is_refused_and_says_what_to_write(case: str) -> None:
    gpu, driver, machine, words = UNSUITED[case]
    own = config(gpu, driver=driver, **machine)
    with pytest.raises(PlanError) as raised:
        planned(own)
    said = "\n".join(raised.value.refusals)
    assert all(word in said for word in words), said
    assert raised.value.proposals, "an edit mends it"
    for proposal in raised.value.proposals:
        assert planned(apply_edits(own, proposal.edits))


@pytest.mark.parametrize("stack", ["l40", "existing-a100", "rtx2060"])
def test_a_model_that_is_too_large_is_told_what_fits_with_every_driver(stack: str) -> None:
    own = {**config(gpu="rtx-4060", replicas=1), "cluster": configuration(stack)["cluster"]}
    own["models"][0] |= {"model": "llama-3.1-8b-instruct", "contextTokens": 8192}
    with pytest.raises(PlanError) as raised:
        planned(own)
    assert len(raised.value.proposals) > 1


def test_an_engine_over_two_cards_takes_no_shares() -> None:
    own = config(sharing("timeSlicing", replicas=2), gpus=2, replicas=1)
    own["models"][0]["tensorParallel"] = 2
    assert "tensorParallel" in refusals(own)


def test_mig_gives_a_process_one_slice() -> None:
    own = config(sharing("mig", profile="3g.20gb"), replicas=1)
    own["models"][0]["tensorParallel"] = 2
    assert "a process sees one MIG slice only" in refusals(own)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "one share": (sharing("timeSlicing", replicas=1), "gpu.sharing.replicas"),
    "an unknown way": (sharing("fractions"), "gpu.sharing.kind"),
    "MPS of MIG slices": (sharing("mps", profile="1g.5gb"), "gpu.sharing.profile"),
    "a profile that is none": (sharing("mig", profile="half"), "gpu.sharing.profile"),
    "MIG without a profile": (sharing("mig"), "gpu.sharing.profile"),
    "an unknown mode": ({"devicePlugin": "helm"}, "gpu.devicePlugin"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_word_is_an_error_with_its_path(case: str) -> None:
    gpu, path = WRONG[case]
    with pytest.raises(SettingsError, match=path) as raised:
        Settings.from_config(config(gpu))
    assert raised.value.exit_code == 2


def test_gpu_settings_need_a_gpu_and_kubernetes() -> None:
    cpu = {"kind": "cpu", "memoryGiB": 16, "cpus": 4}
    own = {**config({"devicePlugin": "owned"}, driver="embedded"), "machine": cpu}
    with pytest.raises(SettingsError, match=r"machine\.kind is cpu"):
        Settings.from_config(own)
    with pytest.raises(SettingsError, match=r"cluster\.driver is docker"):
        Settings.from_config(config(sharing("timeSlicing"), driver="docker"))
    with pytest.raises(SettingsError, match="a slice of its own"):
        Settings.from_config(config(sharing("mig", profile="3g.20gb"), sharedCard=True))


def decision(plan: Plan, name: str) -> Any:
    (found,) = [d for d in plan.decisions if d.name == name]
    return found


def plugin_config(plan: Plan) -> Any:
    assert plan.nvidia and plan.nvidia.device_plugin
    return yaml.safe_load(plan.nvidia.device_plugin.config)


def test_nothing_is_shared_unless_it_is_asked_for() -> None:
    plan = planned(config(gpus=2))
    assert plan.nvidia and plan.nvidia.sharing.kind == "none" and plan.nvidia.allocatable == 2
    assert plugin_config(plan) == {"version": "v1", "flags": {"migStrategy": "none", "failOnInitError": True}}
    assert not plan.shared_cards


def test_time_slicing_offers_each_card_to_as_many_as_the_plan_has_checked() -> None:
    plan = planned(config(sharing("timeSlicing"), replicas=3))
    assert plugin_config(plan)["sharing"] == {
        "timeSlicing": {
            "renameByDefault": False,
            "failRequestsGreaterThanOne": True,
            "resources": [{"name": "nvidia.com/gpu", "replicas": 3}],
        }
    }
    assert plan.nvidia and plan.nvidia.allocatable == 3
    (card,) = plan.cards
    assert sum(s.fixed_gib + s.kv_cache_gib for s in card.shares) <= card.total_gib - card.desktop_gib
    assert all(m.engine.kv_cache_memory_bytes for m in plan.models)
    assert "not more speed" in decision(plan, "gpu.sharing").reason


def test_the_plan_says_what_several_engines_give_beside_one() -> None:
    shared, alone = planned(config(sharing("timeSlicing"), replicas=2)), planned(config(replicas=1))
    (said,) = [d for d in shared.models[0].decisions if d.name == "sharing"]
    assert "queues of their own" in said.reason
    both, one = (int(figure) for figure in re.findall(r"at most (\d+)", said.reason))
    bounds = shared.models[0].estimate
    assert bounds and both == round(bounds.total_tokens_per_second) < one
    assert not [d for d in alone.models[0].decisions if d.name == "sharing"]
    apart = planned(config(gpus=2, replicas=2))
    assert not [d for d in apart.models[0].decisions if d.name == "sharing"]


def test_one_engine_alone_is_offered_its_card_once() -> None:
    plan = planned(config(sharing("timeSlicing"), replicas=1))
    assert plan.nvidia and plan.nvidia.sharing.replicas == 1 and plan.nvidia.sharing.kind == "none"
    assert decision(plan, "gpu.sharing").kind == "derived"


def test_shares_beyond_the_engines_are_said_to_be_unguarded() -> None:
    plan = planned(config(sharing("timeSlicing", replicas=4)))
    assert decision(plan, "gpu.spareShares").value == "2"
    assert decision(plan, "gpu.spareShares").kind == "degraded"


def test_on_several_cards_any_engines_that_may_meet_fit_together() -> None:
    plan = planned(config(sharing("timeSlicing", replicas=2), gpus=2, replicas=2))
    sizes = [s.fixed_gib + s.kv_cache_gib for card in plan.cards for s in card.shares]
    assert sum(sizes) <= plan.cards[0].total_gib - plan.cards[0].desktop_gib
    assert plan.shared_cards  # the device plugin may put both on one
    alone = planned(config(gpus=2, replicas=2))
    assert alone.cards[0].shares[0].kv_cache_gib > plan.cards[0].shares[0].kv_cache_gib


def test_mps_divides_a_card_evenly_and_is_said_to_be_unverified() -> None:
    plan = planned(config(sharing("mps")))
    assert plugin_config(plan)["sharing"]["mps"]["resources"] == [{"name": "nvidia.com/gpu", "replicas": 2}]
    found = decision(plan, "gpu.mps")
    assert (found.kind, found.value) == ("degraded", "not verified with vLLM")
    assert f"{plan.cards[0].total_gib / 2:.2f} GiB" in found.reason


def test_an_engine_larger_than_its_part_is_refused_under_mps() -> None:
    own = config(sharing("mps", replicas=4))
    assert "MPS gives each process 9.85 GiB" in refusals(own)


def test_mig_slices_are_cards_to_the_engines() -> None:
    plan = planned(config(sharing("mig", profile="3g.20gb")))
    assert plan.nvidia and plan.nvidia.gpus == 1 and plan.nvidia.allocatable == 2
    assert plan.machine.gpu_name == "NVIDIA A100 40GB MIG 3g.20gb" and plan.machine.gpus == 2
    assert [(card.total_gib, len(card.shares)) for card in plan.cards] == [(19.62, 1), (19.62, 1)]
    assert not plan.shared_cards
    assert plugin_config(plan)["flags"]["migStrategy"] == "single"
    assert "nvidia-smi mig -cgi 3g.20gb,3g.20gb -C" in decision(plan, "gpu.migLayout").reason
    whole = planned(config(replicas=1))
    assert whole.models[0].estimate and plan.models[0].estimate
    half = plan.models[0].estimate.single_tokens_per_second / whole.models[0].estimate.single_tokens_per_second
    assert half == pytest.approx(0.5, abs=0.01)  # four of eight memory slices: half of the bandwidth


@pytest.mark.parametrize("card", sorted(load().mig))
def test_every_mig_profile_is_possible_on_its_card(card: str) -> None:
    layout, gpu = load().mig[card], load().gpu(card)
    for name, profile in layout.profiles.items():
        assert all(start + profile.memory_slices <= layout.memory_slices for start in profile.starts), name
        assert all(b - a >= profile.memory_slices for a, b in zip(profile.starts, profile.starts[1:], strict=False))
        assert profile.instances * profile.compute_slices <= layout.compute_slices, name
        part = profile.memory_gib.value / gpu.memory["linux"].value
        assert part <= profile.memory_slices / layout.memory_slices + 0.01, name
        assert name.startswith(f"{profile.compute_slices}g.")


def test_the_document_lists_every_card_that_can_be_divided() -> None:
    text = (ROOT / "docs/gpu-sharing.md").read_text(encoding="utf-8")
    for card, layout in load().mig.items():
        sizes = (f"{name} ({p.instances} x {p.memory_gib.value:g} GiB)" for name, p in layout.profiles.items())
        assert f"| `{card}` | {', '.join(sizes)} | {layout.least_driver.value} |" in text


def test_every_driver_says_who_may_run_the_plugin() -> None:
    assert set(MODES) == set(DRIVERS)
    for driver, modes in MODES.items():
        assert bool(modes) == (driver != "docker")


def test_minikube_keeps_its_add_on_off_only_where_the_plugin_is_ours() -> None:
    for gpu, addons in ((None, ("nvidia-device-plugin",)), ({"devicePlugin": "patched"}, ()),
                        ({"devicePlugin": "existing"}, ())):  # fmt: skip
        plan = planned(config(gpu, driver="minikube", gpu="rtx-4090", replicas=1))
        assert isinstance(plan.cluster, MinikubePlan) and plan.cluster.disabled_addons == addons
        assert decision(plan, "gpu.devicePlugin").kind == ("stated" if gpu else "default")
