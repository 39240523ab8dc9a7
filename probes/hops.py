"""The result of a check: hops from the cluster to the model's words, each timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from stacks.errors import CheckFailed


@dataclass(frozen=True)
class Hop:
    """One hop: what was looked at, whether it is sound, what was seen, and how long looking took."""

    name: str
    ok: bool
    milliseconds: float
    seen: str


@dataclass
class Walk:
    """The hops of one model, in order; stops at the first broken one."""

    model: str
    endpoint: str
    hops: list[Hop] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    failure: CheckFailed | None = None

    @property
    def ok(self) -> bool:
        """Whether every hop was sound."""
        return self.failure is None

    def hop(self, name: str, look: Callable[[], str]) -> None:
        """Looks, unless an earlier hop is broken; `look` returns what it saw or raises CheckFailed."""
        if self.failure:
            return
        begin = time.perf_counter()
        try:
            seen, ok = look(), True
        except CheckFailed as error:
            seen, ok = error.message, False
            self.failure = CheckFailed(f"{self.model}: {name} is broken: {error.message}", remedy=error.remedy)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            seen, ok = f"an answer that no engine gives ({error!r})", False
            self.failure = CheckFailed(
                f"{self.model}: {name} is broken: {seen}",
                remedy="another service may answer on this port; see: ss -ltnp",
            )
        self.hops.append(Hop(name, ok, (time.perf_counter() - begin) * 1e3, seen))

    def to_json(self) -> dict[str, Any]:
        """The walk for machines."""
        broken = {"failure": self.failure.message, "remedy": self.failure.remedy} if self.failure else {}
        return {
            "model": self.model, "endpoint": self.endpoint, "ok": self.ok, "hops": [asdict(h) for h in self.hops],
            **self.figures, **broken,
        }  # fmt: skip


def table(walk: Walk) -> str:
    """The walk for people: a line a hop."""
    lines = [f"{walk.model}  {walk.endpoint}"]
    lines += [f"  {'ok' if h.ok else 'x ':2}  {h.name:11} {h.milliseconds:8.0f} ms  {h.seen}" for h in walk.hops]
    return "\n".join(lines)
