"""Times `Settings` to `Plan` and the reading of stack files, for every stack: python -m benchmarks.plan."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.timing import seconds, spread
from stacks.planning.build import build_plan
from stacks.settings import Settings
from stacks.settings.stack_file import read_stack, stack_names
from stacks.settings.stack_yaml import _Loader

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Prints one line a stack and step."""
    sys.stdout.write(f"YAML loader: {_Loader.__name__}\n")
    for stack in stack_names(ROOT):
        config = read_stack(ROOT, stack)
        settings = Settings.from_config(config.own)
        # loads the catalogue if it is the first of all
        first = seconds(lambda s=settings, n=stack: build_plan(s, stack=n))
        sys.stdout.write(f"{stack:10} plan, first call    {first * 1e3:8.2f} ms\n")
        sys.stdout.write(
            f"{stack:10} plan               "
            f"{spread([seconds(lambda s=settings, n=stack: build_plan(s, stack=n)) for _ in range(200)])}\n"
        )
        sys.stdout.write(
            f"{stack:10} settings           "
            f"{spread([seconds(lambda c=config: Settings.from_config(c.own)) for _ in range(200)])}\n"
        )
        sys.stdout.write(
            f"{stack:10} read the file      "
            f"{spread([seconds(lambda n=stack: read_stack(ROOT, n)) for _ in range(200)])}\n"
        )


if __name__ == "__main__":
    main()
