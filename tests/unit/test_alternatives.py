"""The search for settings that work, with a stand-in for the planner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stacks.catalog import load
from stacks.planning.alternatives import alternatives
from stacks.planning.edits import apply_edits
from stacks.settings import Settings
from tests.unit.test_planner import config, wish

MOST_PLANNED = 2 * 2500 + 64


class Planner:
    """Plans what `rule` allows, and counts the models that it was asked for."""

    def __init__(self, rule: Callable[[Settings], bool]) -> None:
        self.rule, self.planned = rule, 0

    def __call__(self, settings: Settings) -> bool:
        self.planned += len(settings.models)
        return self.rule(settings)


def offered(own: dict[str, Any], rule: Callable[[Settings], bool]) -> list[str]:
    """The proposals in words; each of them is held to the rule."""
    planner = Planner(rule)
    found = alternatives(Settings.from_config(own), load(), planner)
    for proposal in found:
        assert rule(Settings.from_config(apply_edits(own, proposal.edits))), proposal
    assert planner.planned <= MOST_PLANNED
    return [proposal.text for proposal in found]


def test_a_single_edit_takes_the_value_nearest_to_the_files() -> None:
    own = config(wish(contextTokens=4096, concurrentRequests=100, replicas=8))
    assert offered(own, lambda s: s.models[0].context_tokens <= 1000) == ["models[0].contextTokens: 896"]
    assert offered(own, lambda s: s.models[0].concurrent_requests <= 30) == ["models[0].concurrentRequests: 25"]
    assert offered(own, lambda s: s.models[0].replicas <= 5) == ["models[0].replicas: 5"]


def test_every_line_that_helps_alone_is_offered_once_and_no_pair_beside_it() -> None:
    own = config(wish(contextTokens=4096, concurrentRequests=100))
    texts = offered(own, lambda s: s.models[0].context_tokens * s.models[0].concurrent_requests <= 100_000)
    assert texts == ["models[0].contextTokens: 896", "models[0].concurrentRequests: 12"]


def test_both_edits_of_a_pair_are_as_near_as_the_other_allows() -> None:
    own = config(wish(contextTokens=4096, replicas=8))
    assert offered(own, lambda s: s.models[0].context_tokens <= 1000 and s.models[0].replicas <= 2) == [
        "models[0].replicas: 2, and models[0].contextTokens: 896"
    ]


def test_a_pair_with_a_model_taken_out_says_so_first_and_counts_in_the_files_numbers() -> None:
    own = config(wish(name="a"), wish(name="b", contextTokens=4096), wish(name="c"))
    texts = offered(own, lambda s: [m.name for m in s.models] == ["b", "c"] and s.models[0].context_tokens <= 2048)
    assert texts == ["without a, and models[1].contextTokens: 2048"]


def test_a_model_is_left_out_in_one_pair_only() -> None:
    own = config(wish(name="a", replicas=2), wish(name="b", replicas=2))
    texts = offered(own, lambda s: len(s.models) == 1 and s.models[0].replicas == 1)
    assert texts == ["without b, and models[0].replicas: 1", "without a, and models[1].replicas: 1"]


def test_where_no_pair_helps_the_first_models_are_kept_that_work() -> None:
    own = config(*(wish(name=f"m{n}", replicas=2) for n in range(6)))
    texts = offered(own, lambda s: sum(m.replicas for m in s.models) <= 3)
    assert texts == ["only m0, m1, m2, with one replica each"]


def test_the_last_resort_is_the_files_first_model_before_any_other() -> None:
    own = config(wish(contextTokens=8192, replicas=2, concurrentRequests=64, pin={"gpuMemoryUtilization": 0.5}))

    def plain(settings: Settings) -> bool:
        (model,) = settings.models
        return model.replicas == 1 and model.pin.gpu_memory_utilization is None and model.context_tokens <= 4096

    assert offered(own, plain) == ["models[0]: qwen2.5-1.5b-instruct with 4096 tokens, one replica, nothing pinned"]
    texts = offered(own, lambda s: plain(s) and s.models[0].model == "qwen2.5-0.5b-instruct")
    assert texts == ["models[0]: qwen2.5-0.5b-instruct with 4096 tokens, one replica, nothing pinned"]


def test_nothing_is_planned_that_is_refused_whatever_its_models_are() -> None:
    own = config(wish(contextTokens=4096, replicas=2))
    own["gpu"] = {"devicePlugin": "patched", "sharing": {"kind": "mig", "profile": "1g.5gb"}}
    planner = Planner(lambda _: True)

    def refused(settings: Settings) -> bool:
        return settings.gpu.device_plugin is not None or settings.gpu.sharing.kind == "mig"

    found = alternatives(Settings.from_config(own), load(), planner, refused=refused)
    assert [proposal.text.partition(":")[0] for proposal in found] == ["no gpu settings"]
    assert planner.planned <= 2
    assert alternatives(Settings.from_config(own), load(), planner, refused=lambda _: True) == []
    assert planner.planned <= 2


@pytest.mark.parametrize("models", [1, 3, 16])
def test_a_search_without_an_end_in_sight_gives_up(models: int) -> None:
    own = config(*(wish(name=f"m{n}", replicas=2) for n in range(models)))
    assert offered(own, lambda _: False) == []
