"""How long an engine may take to start and to stop."""

from __future__ import annotations

from math import ceil

from stacks.catalog import Catalog, Image
from stacks.plan import LifecyclePlan

_PERIOD_SECONDS = 10


def lifecycle(
    *, weights_gib: float, download_gib: float, image: Image, catalog: Catalog, compiles: bool = True, before: int = 0
) -> LifecyclePlan:
    """Budgets from the model's size and the catalogued speeds: startup probe < progress deadline < resource timeout.

    Weights are in the cache before the engine starts; their download has a budget of its own. `compiles`: not with
    --enforce-eager on a GPU. `before`: engines of the same card that start first, each of which may need as long.
    """
    seconds = (
        weights_gib / catalog.number("startup.readGiBPerSecond")
        + (catalog.number("startup.compileSeconds") if compiles else 0.0)
        + catalog.number("startup.profileSeconds")
        + catalog.number("startup.importSeconds")
    ) * catalog.number("startup.safety")
    start = max(seconds, catalog.number("startup.minimumSeconds")) if image.device == "cuda" else seconds
    start *= 1 + before
    failures = ceil(start / _PERIOD_SECONDS)
    pull = image.compressed_gib.value / catalog.number("startup.pullGiBPerSecond")
    progress = failures * _PERIOD_SECONDS + max(ceil(pull / 60) * 60, 300)
    pre_stop, drain = int(catalog.number("shutdown.preStopSeconds")), int(catalog.number("shutdown.drainSeconds"))
    return LifecyclePlan(
        download_seconds=ceil(
            download_gib / catalog.number("startup.pullGiBPerSecond") * catalog.number("startup.safety") / 60
        )
        * 60
        + 300,
        startup_period_seconds=_PERIOD_SECONDS,
        startup_failures=failures,
        progress_deadline_seconds=progress,
        timeout_seconds=progress + 300,
        pre_stop_seconds=pre_stop,
        drain_seconds=drain,
        termination_grace_seconds=pre_stop + drain + 10,
    )
