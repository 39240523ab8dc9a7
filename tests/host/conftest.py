"""What tests of a gateway that runs share."""

from __future__ import annotations

import pytest

from probes.verify.target import Target
from tests.support.live_gateway import LiveGateway


@pytest.fixture(scope="module")
def target(front: LiveGateway) -> Target:
    """What is asked of the gateway that the module's own `front` is."""
    return front.target()
