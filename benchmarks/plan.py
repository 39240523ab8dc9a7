"""Times `Settings` to `Plan`, the reading of stack files, and 200 different plans: python -m benchmarks.plan."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.timing import seconds, spread
from cli.load import REFERENCE_MACHINE
from stacks.catalog import load
from stacks.planning.build import build_plan, try_plan
from stacks.settings import Settings
from stacks.settings.stack_file import read_stack, stack_names
from stacks.settings.stack_yaml import _Loader

_PLANS = 200
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Prints one line a stack and step."""
    sys.stdout.write(f"YAML loader: {_Loader.__name__}\n")
    for stack in stack_names(ROOT):
        config = read_stack(ROOT, stack)
        told = partial(Settings.from_config, config.own, detected=REFERENCE_MACHINE)
        settings = told()
        # loads the catalogue if it is the first of all
        first = seconds(lambda s=settings, n=stack: build_plan(s, stack=n))
        sys.stdout.write(f"{stack:10} plan, first call    {first * 1e3:8.2f} ms\n")
        sys.stdout.write(
            f"{stack:10} plan               "
            f"{spread([seconds(lambda s=settings, n=stack: build_plan(s, stack=n)) for _ in range(200)])}\n"
        )
        sys.stdout.write(f"{stack:10} settings           {spread([seconds(told) for _ in range(200)])}\n")
        sys.stdout.write(
            f"{stack:10} read the file      "
            f"{spread([seconds(lambda n=stack: read_stack(ROOT, n)) for _ in range(200)])}\n"
        )
    load()
    used = time.process_time()
    wall = seconds(_different)
    used = time.process_time() - used
    sys.stdout.write(f"{_PLANS} different plans of one model each: {wall:.2f} s, {used:.2f} s of a processor\n")


def _different() -> None:
    """Models of the catalogue by turns, each time with another context, so that nothing is remembered."""
    catalog = load()
    names = [name for name, model in catalog.models.items() if "cuda" in model.devices and model.task == "chat"]
    machine = {"kind": "nvidia", "gpu": "rtx-4090", "gpus": 1, "memoryGiB": 64, "cpus": 16}
    for number in range(_PLANS):
        model = {"name": "m", "model": names[number % len(names)], "contextTokens": 1024 + 16 * number}
        own = {"machine": machine, "cluster": {"driver": "minikube"}, "models": [model]}
        try_plan(Settings.from_config(own), stack="benchmark", catalog=catalog)


if __name__ == "__main__":
    main()
