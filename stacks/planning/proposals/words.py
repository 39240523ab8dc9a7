"""A machine and its proposal in words."""

from __future__ import annotations

from stacks.found_machine import FoundMachine
from stacks.planning.proposals.propose import Proposal


def machine_words(found: FoundMachine) -> str:
    """Cards, memory, processors, and Linux on what."""
    names = [found.board or card.name for card in found.cards]
    cards = ", ".join(f"{names.count(n)} x {n}" if names.count(n) > 1 else n for n in dict.fromkeys(names))
    where = "Linux under WSL2" if found.wsl else "Linux"
    return f"{cards or 'no GPU'}, {found.memory_mib / 1024:.0f} GiB of RAM, {found.cpus} processors, {where}"


def usual_name(proposal: Proposal) -> str:
    """The stack's name where none is given: the card's."""
    return str(proposal.config["machine"].get("gpu", "processors"))
