"""A plan does not hang on the order of Python's sets: two interpreters with different hash seeds print the same
bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.stacks import ROOT, STACKS


def _printed(arguments: list[str], seed: str) -> bytes:
    machine = {"LAB_MACHINE": "memoryGiB=16,cpus=4"}
    environment = os.environ | machine | {"PYTHONHASHSEED": seed}
    command = [sys.executable, "-P", "-m", "cli", *arguments]
    result = subprocess.run(
        command, cwd=ROOT, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False, timeout=120
    )
    assert result.returncode in (0, 2) and result.stdout, result.stderr
    return result.stdout


@pytest.mark.parametrize("stack", STACKS)
def test_two_hash_seeds_give_the_same_plan_byte_for_byte(stack: str) -> None:
    assert _printed(["plan", stack, "--json"], "0") == _printed(["plan", stack, "--json"], "4242")
