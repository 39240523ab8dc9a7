"""Where one model's weights lie: looked at quickly, verified fully when in doubt, put there in one step; others' files
are left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Literal

from host.system.files import write_atomic
from stacks.errors import HostError

SUMS = "SHA256SUMS"
_STAMP = ".local-ai-lab-stamp.json"
_MARK = ".local-ai-lab-work"


class Place:
    """`<cache>/<directory>`, and `work` beside it on the same disk."""

    def __init__(self, cache: Path, directory: str) -> None:
        if directory != Path(directory).name or directory in ("", ".", ".."):
            raise HostError(f"{directory!r} is no folder name", remedy="report this: the plan names the folder")
        self.folder = cache / directory
        self.work = cache / f".{directory}.work"

    def look(self) -> Literal["absent", "whole", "unsure"]:
        """What sizes and times say, without reading the weights: `unsure` where they differ from the stamp or there is
        none.
        """
        if not self.folder.exists():
            return "absent"
        try:
            stamp = json.loads((self.folder / _STAMP).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "unsure"
        return "whole" if stamp == self._stamp(self._listed()) and stamp else "unsure"

    def verify(self) -> None:
        """Reads every file; writes a new stamp where all are as SHA256SUMS says, else leaves the folder as it is, still
        `unsure`.
        """
        sums = self._listed()
        if sums and all(
            (self.folder / name).is_file() and _sha256(self.folder / name) == digest for name, digest in sums.items()
        ):
            write_atomic(self.folder / _STAMP, json.dumps(self._stamp(sums)))

    def refuse_foreign(self) -> None:
        """Raises HostError where the folder holds anything that is not ours: only a damaged copy of ours may be
        replaced.
        """
        if not self.folder.exists():
            return
        ours = {*self._listed(), SUMS, _STAMP}
        foreign = sorted(
            str(p.relative_to(self.folder))
            for p in self.folder.rglob("*")
            if not p.is_dir() and str(p.relative_to(self.folder)) not in ours
        )
        if foreign:
            shown = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
            raise HostError(
                f"{self.folder} holds files that the lab did not put there: {shown}",
                remedy=f"move them away: mv {self.folder} {self.folder}.mine; "
                f"or, if they are the right weights: cd {self.folder} && sha256sum * > {SUMS}",
            )

    def begin(self) -> None:
        """Makes the work folder, or takes up that of a killed run. Raises HostError where something else has its
        name.
        """
        if self.work.exists() and not (self.work / _MARK).exists() and any(self.work.iterdir()):
            raise HostError(
                f"{self.work} is in the way and was not made by the lab", remedy=f"mv {self.work} {self.work}.mine"
            )
        write_atomic(self.work / _MARK, "safe to delete when no lab runs\n")

    def put(self, result: Path) -> None:
        """Takes the finished files of `result`, inside `work`: checksums, readable for all, on the disk, then in place
        in one step.
        """
        sums = {str(p.relative_to(result)): _sha256(p) for p in sorted(result.rglob("*")) if p.is_file()}
        (result / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()), encoding="utf-8")
        for path in (result, *result.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.sync()
        if self.folder.exists():  # ours and damaged: refuse_foreign looked
            damaged = self.work / "damaged"
            shutil.rmtree(damaged, ignore_errors=True)
            self.folder.rename(damaged)
        result.rename(self.folder)
        write_atomic(self.folder / _STAMP, json.dumps(self._stamp(sums)))
        shutil.rmtree(self.work)

    def discard(self) -> None:
        """Drops what a run left that was killed after its last step."""
        if (self.work / _MARK).exists():
            shutil.rmtree(self.work)

    def _listed(self) -> dict[str, str]:
        """SHA256SUMS as name -> digest; empty where there is none."""
        try:
            lines = (self.folder / SUMS).read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        pairs = (line.split(maxsplit=1) for line in lines)
        return {
            pair[1].lstrip("*").removeprefix("./"): pair[0]
            for pair in pairs
            if len(pair) == 2 and pair[1].lstrip("*") != SUMS
        }

    def _stamp(self, sums: dict[str, str]) -> dict[str, list[int]]:
        """Size and time of each file; a missing file has none."""
        paths = {name: self.folder / name for name in [*sums, SUMS]}
        return {
            name: [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else []
            for name, path in paths.items()
        }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
