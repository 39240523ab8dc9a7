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
from functools import partial
from pathlib import Path

from host.artifacts import images, pulumi, pulumi_modules
from host.artifacts.models import ensure_weights
from host.artifacts.pulumi import Pulumi
from host.drivers import optional
from stacks.plan import Plan

_INTERRUPTED = 130


def prepare_machine(plan: Plan, plugins: dict[str, str], with_pulumi: Callable[[Pulumi], object]) -> None:
    """Fetches and builds what the stack's cluster or containers, and its models, need; takes milliseconds where all of
    it is there.

    `with_pulumi` is called as soon as the CLI is there, so that a wrong passphrase is said before minutes of other
    builds. Raises what that raises, and HostError of the lane that fails first; what was finished is kept.
    """
    cache, weights = pulumi_modules.default_cache(), Path(plan.cache_folder or "").expanduser()
    get_programs = optional(plan.cluster.driver, "prepare")
    theirs = get_programs(plan.stack, plan.cluster) if get_programs else []
    programs: list[Callable[[], object]] = [lambda: with_pulumi(pulumi.get(cache, plugins)), *theirs]
    built = sorted({model.image for model in plan.models if model.pull_policy == "Never"})
    specs = [spec for model in plan.models for spec in model.all_weights if plan.cache_folder]
    if plan.hugging_face_token:  # only Pulumi can decrypt it, and a gated repository needs it
        specs = [spec for spec in specs if spec.packages]
    made = [partial(images.ensure_image, name) for name in built]
    _side_by_side([programs, [*made, *(partial(ensure_weights, spec, weights) for spec in specs)]])


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
