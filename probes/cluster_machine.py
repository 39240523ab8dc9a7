"""A node of somebody else's cluster as a machine that a stack file can be proposed for, by what NVIDIA's GPU feature
discovery says of it. Looks only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from probes.node_facts import driver_major, quantity
from stacks import names
from stacks.errors import CheckFailed
from stacks.found_machine import FoundCard, FoundMachine

PRODUCT: Final = f"{names.GPU}.product"


class FoundNode(NamedTuple):
    """The machine, and the product by which its nodes are found again."""

    machine: FoundMachine
    product: str


def best(nodes: Sequence[Mapping[str, Any]]) -> FoundNode:
    """The node with the most memory on its cards. Raises CheckFailed where none says what its cards are."""
    found = [node for node in nodes if _gpus(node) and PRODUCT in _labels(node)]
    if not found:
        raise CheckFailed(
            f"no node that this user may see offers {names.GPU} and has the label {PRODUCT}",
            remedy="NVIDIA's GPU operator with its feature discovery sets both; without them copy a stack file with "
            "driver: existing and write the card yourself",
        )
    chosen = max(found, key=lambda node: (_gpus(node) * _mib(node), node["metadata"]["name"]))
    labels, capacity = _labels(chosen), chosen["status"]["capacity"]
    driver = driver_major(labels) or None
    card = FoundCard(" ".join(labels[PRODUCT].split("-")), driver=driver, total_mib=_mib(chosen) or None)
    machine = FoundMachine(
        memory_mib=int(quantity(capacity["memory"]) / 2**20),
        cpus=int(capacity["cpu"]),
        cards=(card,) * _gpus(chosen),
    )
    return FoundNode(machine, labels[PRODUCT])


def _labels(node: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = node["metadata"].get("labels") or {}
    return found


def _gpus(node: Mapping[str, Any]) -> int:
    said = str(node["status"].get("capacity", {}).get(names.GPU, "0"))
    return int(said) if said.isdigit() else 0


def _mib(node: Mapping[str, Any]) -> int:
    said = str(_labels(node).get(f"{names.GPU}.memory", "0"))
    return int(said) if said.isdigit() else 0
