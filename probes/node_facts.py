"""How the API server says facts of a node: Kubernetes' quantities, and labels of NVIDIA's GPU feature discovery."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_SUFFIX: Final = {"": 1.0, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
"""Kubernetes' quantities: kubernetes.io, resource units."""


def quantity(text: object) -> float:
    """`500m` is 0.5, `16Gi` is 16 * 2^30; 0 for what is no quantity."""
    found = re.fullmatch(r"([0-9.]+)(m|[KMGT]i|[kMGT]|)", str(text))
    if not found:
        return 0.0
    return float(found[1]) / 1000 if found[2] == "m" else float(found[1]) * _SUFFIX[found[2]]


def driver_major(labels: Mapping[str, str]) -> str:
    """The first number of the node's NVIDIA driver, by the label's present name or its former one; "" without both."""
    return str(labels.get("nvidia.com/cuda.driver-version.major") or labels.get("nvidia.com/cuda.driver.major") or "")
