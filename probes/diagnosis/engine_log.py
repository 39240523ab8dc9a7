"""What an engine's log says of its end."""

from __future__ import annotations

import re

from probes.diagnosis.engine_signatures import ENGINE
from probes.diagnosis.problem import Problem, clean, fill
from probes.diagnosis.signature import Signature

# what vLLM prints when a process gave up because another did: never the cause
_ECHO = re.compile(
    r"Engine core initialization failed|EngineDeadError|See root cause above|EngineCore encountered an issue"
)
_FATAL = re.compile(r"(?:Error|Exception)(?::|\b)|\b[Ee]rror\b|CUDA error|Traceback|FATAL|core dumped|Bus error")
_LAST = 20_000  # characters of the end that are read


def engine_problem(log: str) -> Problem | None:
    """The cause that an engine's log names, the last fatal sentence first; None where it names none that is known."""
    lines = [line for line in log[-_LAST:].splitlines() if line.strip() and not _ECHO.search(line)]
    for number in range(len(lines) - 1, -1, -1):
        if _FATAL.search(lines[number]) and not re.search(r"\b(?:WARNING|INFO|DEBUG)\b", lines[number]):
            # a sentence may go on in the lines after it
            text = " ".join(lines[number : number + 3])
            if found := match(ENGINE, text, evidence=lines[number]):
                return found
    # CUDA's and NVML's own sentences come without the word error
    return next(
        (p for line in reversed(lines) if (p := match(ENGINE, line, evidence=line)) and "INFO" not in line), None
    )


def match(signatures: tuple[Signature, ...], text: str, *, evidence: str) -> Problem | None:
    """The first signature that the text holds, its figures filled in."""
    for signature in signatures:
        if found := signature.pattern.search(text):
            figures = {name: value or "not printed" for name, value in found.groupdict().items()}
            return Problem(fill(signature.what, figures), clean(evidence), fill(signature.remedy, figures), final=True)
    return None
