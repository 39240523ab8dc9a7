"""What Envoy Gateway makes of our objects, in a real Envoy: every probe of `lab verify`. The cases of bodies, aliases
and sessions are in test_gateway_routing, for this Envoy and for the fixed one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from probes.verify import suite
from tests.support import translated
from tests.support.live_gateway import LiveGateway, translated_running

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with translated_running(tmp_path_factory.mktemp("home"), limit=400) as made:
        yield made


def test_what_is_recorded_was_made_of_the_objects_of_today() -> None:
    assert translated.recorded()["madeOf"] == translated.made_of(), "run python -m tests.support.translated"


def test_no_probe_finds_anything(front: LiveGateway) -> None:
    outcomes = suite.run(front.target())
    assert {outcome.name: outcome.finding for outcome in outcomes if outcome.finding} == {}
