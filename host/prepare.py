"""Everything that a first `up` has to fetch or build, two things at a time: programs in one lane, the image and weights
in the other.

The Commands of the program make the same things by the same calls; here they are made side by side and before anything
but caches changes.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from host import images
from host.artifacts import pulumi
from host.artifacts.pulumi import Pulumi
from host.embedded import namespaces, parts, preflight
from host.embedded.layout import Layout
from host.models import ensure_weights
from host.progress import step
from stacks.planning.plan import EmbeddedPlan, Plan

_INTERRUPTED = 130


def prepare_machine(plan: Plan, plugins: dict[str, str], with_pulumi: Callable[[Pulumi], object]) -> None:
    """Fetches and builds what the stack's embedded cluster and its models need; takes milliseconds where all of it is
    there.

    `with_pulumi` is called as soon as the CLI is there, so that a wrong passphrase is said before minutes of other
    builds. Raises what that raises, and HostError of the lane that fails first; what was finished is kept.
    """
    assert isinstance(plan.cluster, EmbeddedPlan)  # noqa: S101 (the caller asks for it)
    cluster, layout = plan.cluster, Layout(plan.stack, plan.cluster)
    ready = parts.available(cluster, layout.cache)
    if not (ready and os.geteuid() == 0 and namespaces.present(layout)):
        with step("looking at the machine"):
            preflight.check(layout, warm=ready is not None)
    weights = Path(plan.model_cache.host_path).expanduser()
    _side_by_side([
        [lambda: with_pulumi(pulumi.get(layout.cache, plugins)), lambda: parts.make(cluster, layout.cache)],
        [*(lambda name=name: images.ensure_image(name) for name in cluster.images),
         *(lambda spec=model.weights: ensure_weights(spec, weights) for model in plan.models)],
    ])  # fmt: skip


def _side_by_side(lanes: Sequence[Sequence[Callable[[], object]]]) -> None:
    """Each lane in order, the lanes at once. The first failure ends the wait: the process that it ends takes the other
    lane with it.
    """
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work(lane: Sequence[Callable[[], object]]) -> None:
        try:
            for make in lane:
                make()
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            ended.put(error)
        else:
            ended.put(None)

    for lane in lanes:
        threading.Thread(target=work, args=(lane,), daemon=True).start()
    try:
        for _ in lanes:
            if error := ended.get():
                raise error
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what is finished is kept, and the next run goes on from there\n")
        sys.stderr.flush()
        # builds are tied to this process and end with it; waiting for their threads would take minutes
        os._exit(_INTERRUPTED)
