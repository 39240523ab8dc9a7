"""Repeats and medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(action: Callable[[], object]) -> float:
    """How long one call took."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def spread(samples: list[float], unit: float = 1e3, name: str = "ms") -> str:
    """Minimum, median and maximum for people."""
    low, middle, high = min(samples) * unit, statistics.median(samples) * unit, max(samples) * unit
    return f"median {middle:8.2f} {name}   (min {low:.2f}, max {high:.2f}, n={len(samples)})"
