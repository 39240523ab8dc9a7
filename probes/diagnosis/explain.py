"""Looks a sentence up in all tables of signatures, whichever program printed it."""

from __future__ import annotations

from probes.diagnosis.docker_signatures import DOCKER
from probes.diagnosis.engine_log import engine_problem, match
from probes.diagnosis.kubernetes_signatures import KUBERNETES
from probes.diagnosis.nvidia import classify_log, nvidia_problem
from probes.diagnosis.problem import Problem


def explain(text: str, *, wsl: bool = False) -> Problem:
    """What a log or a sentence means: NVIDIA's own layers first, then Docker, Kubernetes, the engine. Where nothing is
    known, the problem is called unknown and its evidence is the last 20 lines.
    """
    found = nvidia_problem(text, wsl=wsl) or match((*DOCKER, *KUBERNETES), text, evidence=text) or engine_problem(text)
    return found or Problem("unknown", classify_log(text).evidence, "")
