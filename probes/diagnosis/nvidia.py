"""What a log or a sentence of a driver, container toolkit, container runtime or device plugin means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from probes.diagnosis.nvidia_signatures import BY_IDENT, NVIDIA, WORDS
from probes.diagnosis.problem import Problem, clean, fill

_LAST_LINES = 20
UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Found:
    """A signature in a log: its ident, or `unknown`, and the line that gave it away, or the last 20 lines."""

    ident: str
    evidence: str


def classify_log(log: str, *, wsl: bool = False) -> Found:
    """The signature whose longest text the log holds; where `wsl`, those of WSL2 before all others."""
    for only_wsl in (True, False) if wsl else (False,):
        hits = [(text, s) for s in NVIDIA if s.wsl is only_wsl for text in s.texts if text in log]
        if hits:
            text, signature = max(hits, key=lambda hit: len(hit[0]))
            return Found(signature.ident, next(line for line in log.splitlines() if text in line))
    return Found(UNKNOWN, "\n".join(log.strip().splitlines()[-_LAST_LINES:]))


def nvidia_problem(text: str, *, wsl: bool = False) -> Problem | None:
    """What a sentence of a driver, toolkit, runtime or plugin means; None where it is none that is known."""
    found = classify_log(text, wsl=wsl)
    if found.ident == UNKNOWN:
        return None
    signature, words = BY_IDENT[found.ident], {**WORDS, **figures(found)}
    return Problem(fill(signature.what, words), clean(found.evidence), fill(signature.remedy, words), final=True)


def figures(found: Found) -> dict[str, str]:
    """The words of the evidence that a meaning may name."""
    signature = BY_IDENT[found.ident]
    return {
        "said": _after(found.evidence, signature.texts).partition(":")[0] or "it said no more",
        "devices": (_after(found.evidence, signature.texts).split() or ["what was asked for"])[0].rstrip(":,"),
    }


def _after(line: str, texts: Iterable[str]) -> str:
    return next((line.partition(text)[2].strip() for text in texts if text in line), "")
