"""What is wrong, how that is known, and what to type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# bearer tokens, keys of the Hugging Face Hub and of OpenAI-like services, keys in the environment or in a URL
_SECRET = re.compile(
    r"(?i)(bearer\s+|api[_-]?key['\"=:\s]+|token['\"=:\s]+|password['\"=:\s]+)[^\s'\"]+|\b(hf_|sk-)[A-Za-z0-9_-]{6,}"
)
_LONGEST = 400


@dataclass(frozen=True)
class Problem:
    """`what` is one sentence, `evidence` what was seen, `remedy` what to type or to change. `final`: waiting cannot
    help.
    """

    what: str
    evidence: str
    remedy: str
    final: bool = False

    def filled(self, **words: str) -> Problem:
        """The same with names in the places that the remedy leaves for them, such as {stack}."""
        return Problem(self.what, self.evidence, fill(self.remedy, words), self.final)


def fill(text: str, words: Mapping[str, str]) -> str:
    """The text with `words` in its {places}; a place without a word stays."""
    return re.sub(r"\{(\w+)\}", lambda place: words.get(place[1], place[0]), text)


def clean(text: str) -> str:
    """A line of evidence: no secrets, no control characters, not endless."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    plain = _SECRET.sub(lambda m: f"{m.group(1) or m.group(2)}[redacted]", " ".join(plain.split()))
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."
