"""Who holds the memory of the cards."""

from __future__ import annotations

from probes.doctor.subject import Subject, ok, skipped, warn
from probes.machine import holders, look_at_cards
from probes.nvidia import Layer

_MIB = 1024
_QUIET_GIB = 1.5
"""What a desktop may hold without anybody asking who it is."""


def card_memory(subject: Subject) -> Layer:
    """What is free is what the plan counts on, unless the stack's own engines have it."""
    cards = [card for card in look_at_cards(subject.machine) if card.total_mib is not None]
    if not cards:
        return skipped("card-memory", "no card reports its memory")
    used = max((card.used_mib or 0) / _MIB for card in cards)
    evidence = "; ".join(f"{card.name}: {card.used_mib or 0} of {card.total_mib} MiB held" for card in cards)
    who = ", ".join(f"{h.name} (pid {h.pid}, {h.mib or '?'} MiB)" for h in holders(subject.machine))
    if who:
        evidence += f" by {who}"
    plan = subject.plan
    if subject.serving:
        return ok("card-memory", f"{evidence}; the stack runs")
    counted = max((card.desktop_gib for card in plan.cards), default=0.0) if plan else _QUIET_GIB
    if used <= max(counted, _QUIET_GIB if plan is None else 0.0) + 0.1:
        return ok("card-memory", evidence)
    see = "nvidia-smi in Windows shows who" if subject.wsl else "nvidia-smi shows who"
    stop = "sudo kill PID ends one of them" if who else see
    own = f"; or write heldMemoryGiB: {used + 0.05:.1f} below machine, to plan around them" if plan else ""
    cause = f"programs hold {used:.1f} GiB of a card" + (f", and the plan counts on {counted:.1f}" if plan else "")
    return warn("card-memory", evidence, cause, f"{stop}{own}")
