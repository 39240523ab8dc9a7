"""What `lab init` proposes for machines that public reports show; their sources stand in tests/data/machines."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from cli.load import load_plan
from probes.machine import look
from stacks.catalog import load
from stacks.catalog.proposals import load as proposals
from stacks.errors import CatalogError, ProposalError
from stacks.found_machine import FoundCard, FoundMachine, Holder
from stacks.planning.proposals.card import match
from stacks.planning.proposals.driver import choose
from stacks.planning.proposals.propose import Proposal, propose
from stacks.planning.proposals.text import stack_file
from stacks.planning.proposals.words import machine_words
from tests.support.golden import assert_golden
from tests.support.recorded_machine import NAMES, RecordedMachine

CATALOG = load()
FREE_LICENCES = {"Apache-2.0", "MIT"}


@cache
def _proposed(name: str, **wanted: object) -> Proposal:
    return propose(look(RecordedMachine(name)), CATALOG, stack=name, **wanted)  # type: ignore[arg-type]


def _card(name: str, total: int, capability: tuple[int, int] | None = (8, 6), driver: str = "595.84") -> FoundCard:
    return FoundCard(name, driver, total, 0, capability)


def _machine(*cards: FoundCard, **facts: object) -> FoundMachine:
    return FoundMachine(memory_mib=65536, cpus=16, cards=cards, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_the_proposal_for_a_recorded_machine_plans(name: str, tmp_path: Path) -> None:
    found = look(RecordedMachine(name))
    text = stack_file(_proposed(name), machine=machine_words(found))
    assert_golden(f"proposals/{name}.yaml", text)
    (tmp_path / f"Pulumi.{name}.yaml").write_text(text)
    plan = load_plan(tmp_path, name)[1]
    assert plan.models[0].memory.concurrency >= 1
    idle = [card for card in plan.cards if not card.shares]
    assert all(card.unused_gib < 0.01 for card in plan.cards if card.shares)
    assert bool(idle) == any("stay idle" in note for note in _proposed(name).notes)


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_what_its_source_shows(name: str) -> None:
    recording = RecordedMachine(name).recording
    text = "\n".join(recording["recorded"])
    for card, driver, total, used, *_ in recording["fields"]:
        assert card in text and driver in text, (card, driver)
        assert total in text or total == "[N/A]"
        assert f"{used}MiB" in text or "memory.used" in recording["assumed"] or used == "[N/A]"
    assert recording["source"]


def test_there_are_ten_recordings() -> None:
    assert len(NAMES) == 10


def test_only_models_that_anybody_may_download_are_proposed() -> None:
    for name in (*proposals().gpu, *proposals().cpu):
        model = CATALOG.model(name)
        assert model.licence in FREE_LICENCES and model.task == "chat" and "auto_map" not in model.config, name


@pytest.mark.parametrize(
    ("said", "mib", "entry"),
    [
        ("NVIDIA GeForce RTX 2060", 6144, "rtx-2060-6gb"),
        ("NVIDIA GeForce RTX 2060", 12288, "rtx-2060-12gb"),
        ("NVIDIA GeForce RTX 2060 SUPER", 8192, "rtx-2060-super"),
        ("NVIDIA GeForce RTX 4060 Ti", 8188, "rtx-4060-ti-8gb"),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, "rtx-4060-ti-16gb"),
        ("NVIDIA GeForce RTX 4090", 24564, "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", 49140, "rtx-4090-48gb"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, "rtx-4090-laptop"),
        ("Tesla T4", 15360, "t4"),
        ("Tesla V100-SXM2-32GB", 32768, "v100-32gb"),
        ("NVIDIA L40", 46068, "l40"),
        ("NVIDIA L40S", 46068, "l40s"),
        ("NVIDIA A100-SXM4-40GB", 40960, "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", 81920, "a100-80gb"),
        ("NVIDIA H100 PCIe", 81559, "h100-pcie"),
        ("NVIDIA H100 80GB HBM3", 81559, "h100"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, "rtx-pro-6000"),
    ],
)
def test_a_card_is_known_by_its_name_and_its_memory(said: str, mib: int, entry: str) -> None:
    found = match(_card(said, mib), CATALOG, platform="linux")
    assert (found.name, found.exact) == (entry, True)


@pytest.mark.parametrize(
    ("said", "mib", "entry"),
    [
        ("NVIDIA GB10", 124609, "dgx-spark"),
        ("NVIDIA Jetson AGX Orin Developer Kit", 62841, "jetson-agx-orin-64gb"),
        ("NVIDIA Jetson AGX Orin Developer Kit", 30697, "jetson-agx-orin-32gb"),
        ("NVIDIA Jetson AGX Thor Developer Kit", 125772, "jetson-thor"),
    ],
)
def test_a_card_that_shares_the_memory_is_known_by_the_machines(said: str, mib: int, entry: str) -> None:
    found = match(FoundCard(said), CATALOG, platform="linux", unified_mib=mib)
    assert (found.name, found.exact) == (entry, True)


def test_an_unknown_card_is_planned_as_the_nearest_that_promises_no_more() -> None:
    found = match(_card("NVIDIA A10G", 23028), CATALOG, platform="linux")
    assert not found.exact
    assert found.name == "a10"  # 8.6 too, and no more than the 22.49 GiB of the A10G
    assert "the catalogue has no NVIDIA A10G: planned as NVIDIA A10" in found.reason
    assert CATALOG.gpus[found.name].memory["linux"].value <= 23028 / 1024


def test_a_card_without_anything_near_is_refused() -> None:
    with pytest.raises(ProposalError, match=r"no Tesla P40 \(22.4 GiB, compute capability 6.1\)"):
        match(_card("Tesla P40", 22919, (6, 1)), CATALOG, platform="linux")


@pytest.mark.parametrize(
    ("facts", "kind", "preferred"),
    [
        ({"wsl": True, "minikube": True, "docker": "28.5.1"}, "nvidia", ["minikube", "docker"]),
        ({"wsl": True, "docker": "28.5.1"}, "nvidia", ["docker", "minikube"]),
        ({"wsl": True}, "nvidia", ["minikube", "docker"]),
        ({"root": True, "systemd": True}, "nvidia", ["k3s", "docker"]),
        ({"root": True, "systemd": True, "docker": "28.5.1"}, "nvidia", ["docker", "k3s"]),
        ({"k3s": True, "docker": "28.5.1", "minikube": True}, "nvidia", ["minikube", "docker"]),
        ({"k3s": True, "root": True, "systemd": True}, "nvidia", ["docker", "minikube", "k3s"]),
        ({"docker": "28.5.1", "minikube": True}, "nvidia", ["minikube", "docker"]),
        ({}, "cpu", ["embedded", "docker"]),
    ],
)
def test_the_driver_follows_from_what_is_installed(facts: dict, kind: str, preferred: list[str]) -> None:
    from stacks.planning.clusters import deployable
    from stacks.settings.cluster import DRIVER_SETTINGS

    carrying = [n for n in preferred if n in DRIVER_SETTINGS and kind in DRIVER_SETTINGS[n].machines]
    chosen = choose(FoundMachine(**facts), kind).driver
    usable = [n for n in DRIVER_SETTINGS if kind in DRIVER_SETTINGS[n].machines and deployable(n) and n != "existing"]
    assert deployable(chosen) or not usable
    assert not carrying or chosen in carrying or not deployable(carrying[0])


def test_a_wanted_driver_is_taken_and_one_that_cannot_is_refused() -> None:
    assert choose(FoundMachine(), "nvidia", "minikube").driver == "minikube"
    with pytest.raises(ProposalError, match="driver embedded carries no machine of kind nvidia"):
        choose(FoundMachine(), "nvidia", "embedded")


def test_a_wanted_model_is_proposed_with_the_most_comfortable_context() -> None:
    proposal = _proposed("l4-cloud", model="qwen3-8b-awq")
    assert proposal.config["models"][0]["model"] == "qwen3-8b-awq"
    assert proposal.config["models"][0]["contextTokens"] == 32768


def test_a_model_that_does_not_fit_or_does_not_exist_is_refused() -> None:
    with pytest.raises(ProposalError, match="no model of the list fits"):
        _proposed("wsl2-rtx-2060", model="qwen3-32b")
    with pytest.raises(CatalogError):
        _proposed("wsl2-rtx-2060", model="qwen9-1t")


def test_what_can_be_mended_before_up_stands_in_no_line_of_the_file() -> None:
    old_driver, full_disk = _proposed("wsl2-rtx-2060", driver="minikube"), _proposed("two-rtx-3090")
    assert "nvidiaDriver" not in old_driver.config["machine"]
    assert "driver 566.14 is installed" in old_driver.before_up[0]
    assert old_driver.before_up[1].startswith("WSL2 has 8 GiB of Windows' 16: write memory=12GB below [wsl2]")
    assert old_driver.config["machine"]["wslMemoryGiB"] == 12
    assert "diskFreeGiB" not in full_disk.config["machine"]
    assert "29 GiB are free" in full_disk.before_up[0]
    assert not _proposed("l4-cloud").before_up


def test_memory_that_others_hold_is_left_to_them_and_said() -> None:
    busy = _proposed("busy-rtx-3090")
    assert busy.config["machine"]["heldMemoryGiB"] == 14.7  # 15005 MiB = 14.65 GiB, rounded up
    assert "other programs hold 14.7 GiB of a card (llama-server (14300 MiB))" in busy.notes[0]
    card = busy.plan.cards[0]
    assert card.desktop_gib >= 14.7


def test_every_card_gets_an_engine_where_one_card_suffices() -> None:
    machine = _proposed("two-a100", driver="minikube").config
    assert (machine["machine"]["gpus"], machine["models"][0]["replicas"]) == (2, 2)


def test_a_card_that_stays_idle_is_said() -> None:
    proposal = _proposed("two-a100", driver="docker")  # which publishes one container of a model
    assert "replicas" not in proposal.config["models"][0]
    assert proposal.notes == (
        "1 of 2 cards stay idle: the model needs no more, and driver docker runs one engine of it; add a second model",
    )


def test_cards_that_differ_are_planned_as_the_smallest() -> None:
    found = _machine(_card("NVIDIA GeForce RTX 3090", 24576), _card("NVIDIA GeForce RTX 3060", 12288))
    proposal = propose(found, CATALOG, stack="x")
    assert (proposal.config["machine"]["gpu"], proposal.config["machine"]["gpus"]) == ("rtx-3060-12gb", 2)
    assert "the cards differ" in proposal.notes[0]


def test_a_card_split_by_mig_is_refused() -> None:
    card = FoundCard("NVIDIA A100 80GB PCIe", "595.91.07", 81920, 0, (8, 0), mig=True)
    with pytest.raises(ProposalError, match="split by MIG"):
        propose(_machine(card), CATALOG, stack="x")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"silent": "Failed to initialize NVML: Driver/library version mismatch"}, "Driver/library version mismatch"),
        ({"nvidia_device": True}, "has an NVIDIA card, and no driver"),
    ],
)
def test_a_card_that_does_not_answer_is_no_machine_without_one(facts: dict, words: str) -> None:
    found = _machine(**facts)
    with pytest.raises(ProposalError, match=words):
        propose(found, CATALOG, stack="x")
    assert propose(found, CATALOG, stack="x", cpu=True).config["machine"]["kind"] == "cpu"


def test_a_machine_that_is_too_small_says_what_the_planner_said() -> None:
    with pytest.raises(ProposalError, match=r"the smallest is refused: .*RAM"):
        propose(FoundMachine(memory_mib=4096, cpus=2), CATALOG, stack="x")


def test_wsl2_gets_one_card_and_its_memory_from_wslconfig() -> None:
    found = FoundMachine(
        wsl=True, memory_mib=15600, cpus=8, cards=(_card("NVIDIA GeForce RTX 4090", 24564, (8, 9)),) * 2
    )
    proposal = propose(found, CATALOG, stack="x")
    machine = proposal.config["machine"]
    assert (machine["platform"], machine["wslMemoryGiB"], "gpus" in machine) == ("wsl2", 16, False)
    assert "one device" in proposal.notes[0]


def test_an_old_driver_is_asked_again_without_the_fields_that_it_does_not_know() -> None:
    found = look(RecordedMachine("rtx-4060", old=True))
    assert found.cards == (FoundCard("NVIDIA GeForce RTX 4060", "550.163.01", 8188, 9),)


def test_the_machine_is_read_as_it_is() -> None:
    found = look(RecordedMachine("busy-rtx-3090"))
    assert found.holders == (Holder(4242, "llama-server", 14300),)
    assert (found.memory_mib, found.cpus, found.docker, found.minikube) == (62 * 1024, 16, "28.5.1", True)
    assert (found.disk_free_mib, found.disk_total_mib) == (400 * 1024, 900 * 1024)
    assert (found.wsl, found.root, found.systemd, found.debian) == (False, True, True, True)
    assert look(RecordedMachine("wsl2-rtx-2060")).wsl
    assert look(RecordedMachine("dgx-spark")).unified


def test_a_card_on_the_bus_is_seen_without_a_driver() -> None:
    files = {
        "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
        "/sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
    }
    folders = {"/sys/bus/pci/devices": ["0000:01:00.0"]}
    assert look(RecordedMachine("no-gpu", files=files, folders=folders)).nvidia_device
    sound = {**files, "/sys/bus/pci/devices/0000:01:00.0/class": "0x040300\n"}
    assert not look(RecordedMachine("no-gpu", files=sound, folders=folders)).nvidia_device
