"""The `machine` of a stack file from what was found, each value with its comment."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Any

from stacks.catalog import Catalog
from stacks.errors import ProposalError
from stacks.found_machine import FoundCard, FoundMachine
from stacks.planning.engines.vllm.images import cuda_image
from stacks.planning.proposals.card import CardMatch, match

_WSL_SHARE = 0.75  # what Windows itself can do without on machines of 16 GB and more
_HELD_STEP = 10  # tenths of a GiB


@dataclass
class MachineFacts:
    """`values` are the lines of the stack file, `comments` what stands beside them; `notes` is what the owner should
    know, `before_up` what must be done first.
    """

    values: dict[str, Any]
    comments: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    before_up: list[str] = field(default_factory=list)
    match: CardMatch | None = None

    def say(self, key: str, value: object, comment: str) -> None:
        """One line."""
        self.values[key] = value
        self.comments[key] = comment


def facts(found: FoundMachine, catalog: Catalog, *, cpu: bool) -> MachineFacts:
    """Raises ProposalError for a machine that no stack file can describe."""
    if not found.memory_mib:
        raise ProposalError("the machine's memory cannot be read from /proc/meminfo", remedy="run it on Linux or WSL2")
    return _processors(found) if cpu else _nvidia(found, catalog)


def _processors(found: FoundMachine) -> MachineFacts:
    made = MachineFacts({})
    made.say("kind", "cpu", "the model runs on the processors: for trials, not for speed")
    _common(made, found)
    return made


def _nvidia(found: FoundMachine, catalog: Catalog) -> MachineFacts:
    card, platform = _one_kind(found.cards), "wsl2" if found.wsl else "linux"
    if card.mig:
        raise ProposalError(
            f"{card.name} is split by MIG, and a proposal is for whole cards",
            remedy="sudo nvidia-smi -mig 0 joins it again; or write the stack file by hand",
        )
    unified = found.memory_mib if found.unified else None
    known = match(_named(card, found.board), catalog, platform=platform, unified_mib=unified)
    made = MachineFacts({}, match=known)
    made.say("kind", "nvidia", "")
    made.say("gpu", known.name, known.reason)
    if not known.exact:
        made.notes.append(known.reason)
    if len({c.name for c in found.cards}) > 1:
        names = ", ".join(c.name for c in found.cards)
        made.notes.append(f"the cards differ ({names}): all are planned as the smallest of them")
    if len(found.cards) > 1 and found.wsl:
        made.notes.append("under WSL2 the device plugin offers all cards as one device: one is planned with")
    elif len(found.cards) > 1:
        made.say("gpus", len(found.cards), "cards of the machine")
    made.say("platform", platform, "Linux under Windows" if found.wsl else "Linux on the machine itself")
    if any(c.display for c in found.cards) and not found.wsl:
        made.say("display", True, "a desktop draws on a card, and keeps some of its memory")
    _driver(made, card, catalog)
    if found.unified:
        made.notes.append("processors and GPU share one memory: other programs of the machine take from the model's")
    else:
        _held(made, found, catalog, platform)
    _common(made, found)
    return made


def _one_kind(cards: tuple[FoundCard, ...]) -> FoundCard:
    """The card that all are planned as: the least capable, then the smallest."""
    return min(cards, key=lambda c: (c.capability or (0, 0), c.total_mib or 0))


def _named(card: FoundCard, board: str) -> FoundCard:
    if "jetson" not in board.lower():
        return card
    return FoundCard(board, card.driver, card.total_mib, card.used_mib, card.capability, card.display, card.mig)


def _driver(made: MachineFacts, card: FoundCard, catalog: Catalog) -> None:
    if card.driver is None:
        return
    newest = (99, 0)  # a card whose capability nobody said is planned by its driver alone
    wanted = cuda_image(card.driver, card.capability or newest, catalog).minimum_driver
    if wanted and int(card.driver.split(".")[0]) < wanted.value:
        made.before_up.append(
            f"driver {card.driver} is installed, and the engine's image needs {wanted.value} or newer: ./lab doctor "
            "says how to get it"
        )
        return
    made.say("nvidiaDriver", card.driver, "as nvidia-smi prints it")


def _held(made: MachineFacts, found: FoundMachine, catalog: Catalog, platform: str) -> None:
    """Memory that others hold is a fact of the machine, where it is more than the planner takes off anyway."""
    used = max((c.used_mib or 0 for c in found.cards), default=0) / 1024
    shown = "desktopGiB" if made.values.get("display") or found.wsl else "headlessGiB"
    if used <= catalog.number(f"platforms.{platform}.{shown}"):
        return
    held = ceil(used * _HELD_STEP) / _HELD_STEP
    who = ", ".join(f"{h.name} ({h.mib} MiB)" if h.mib else h.name for h in found.holders[:3])
    made.say("heldMemoryGiB", held, f"other programs hold it{': ' + who if who else ''}")
    made.notes.append(
        f"other programs hold {used:.1f} GiB of a card{' (' + who + ')' if who else ''}: the plan leaves it to them; "
        "stop them and write the file again to have it"
    )


def _common(made: MachineFacts, found: FoundMachine) -> None:
    memory = found.memory_mib / 1024
    if found.wsl and made.values["kind"] == "nvidia":
        given = ceil(memory)
        if found.windows_mib:
            made.say("memoryGiB", max(given, round(found.windows_mib / 1024)), "RAM of Windows, in GiB")
        else:
            made.say("memoryGiB", given, "Windows has at least this much RAM; write all that it has, if you like")
        made.say("wslMemoryGiB", given, "RAM of WSL2: .wslconfig, [wsl2] memory=")
    else:
        made.say("memoryGiB", max(1, int(memory)), "RAM, in GiB")
    made.say("cpus", found.cpus, "processors that Linux sees")


def more_for_wsl(made: MachineFacts, found: FoundMachine) -> bool:
    """Gives WSL2 three quarters of Windows' RAM, where that is more than it has; whether it is."""
    have, windows = made.values.get("wslMemoryGiB"), made.values.get("memoryGiB", 0)
    wanted = int(windows * _WSL_SHARE)
    if have is None or found.windows_mib is None or wanted <= have:
        return False
    made.say("wslMemoryGiB", wanted, "RAM that WSL2 must get: .wslconfig, [wsl2] memory=")
    made.before_up.append(
        f"WSL2 has {have} GiB of Windows' {windows}: write memory={wanted}GB below [wsl2] in "
        "%UserProfile%\\.wslconfig, then in Windows: wsl --shutdown"
    )
    return True


def disk(found: FoundMachine) -> dict[str, int]:
    """The disk where images and models go, in GiB, as a stack file says it; empty where it is not known."""
    if found.disk_free_mib is None or found.disk_total_mib is None:
        return {}
    free, total = int(found.disk_free_mib / 1024), int(found.disk_total_mib / 1024)
    return {"diskFreeGiB": free, "diskTotalGiB": total} if free else {}
