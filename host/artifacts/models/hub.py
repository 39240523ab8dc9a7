"""A checkpoint from Hugging Face at one revision, with the hub's own client in a private folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from host.artifacts.images import contained
from host.artifacts.images.packages import install
from host.artifacts.models import packages
from host.system import command
from host.system.command import CommandFailed
from host.system.progress import step
from stacks.errors import HostError
from stacks.plan import WeightsPlan

_HOURS = 6 * 3600
NO_NETWORK, NO_ACCESS, NOT_THERE = 3, 4, 5
"""Exit codes of hub_download.py."""


def make(spec: WeightsPlan, work: Path) -> Path:
    """A folder below `work` with the files of the repository at its revision; a killed download goes on. Raises
    HostError.
    """
    client, result = work / "client", work / "result"
    install(packages.LOCKS / "hub.lock", client)
    where = f"{spec.repository} at {(spec.revision or 'main')[:12]}"
    script = Path(__file__).with_name("hub_download.py")
    kind = ["adapter"] if spec.largest_rank is not None else []
    what = f"adapter {where}: at most" if kind else f"model {where}:"
    with step(f"{what} {spec.download_gib:.2f} GiB from Hugging Face"):
        try:
            # HF_TOKEN comes from the environment that we were given, and stands in no argument.
            command.run(
                [*contained.alone(work / "busy"), sys.executable, "-P", script, spec.repository,
                spec.revision or "main", result, *kind],
                timeout=_HOURS, environment={"PYTHONPATH": str(client), "HF_HUB_DISABLE_TELEMETRY": "1",
                "HF_HOME": str(work / "home")},
            )  # fmt: skip
        except CommandFailed as error:
            raise _said(error, where, spec) from None
    shutil.rmtree(result / ".cache", ignore_errors=True)
    return result


def _said(error: CommandFailed, where: str, spec: WeightsPlan) -> HostError:
    token = os.environ.get("HF_TOKEN")
    again = "and run the same command again: it goes on where it stopped"
    if error.code == NO_NETWORK:
        return HostError(
            f"{where} cannot be downloaded: Hugging Face is not reachable from this machine",
            remedy=f"check the network (HTTPS_PROXY; HF_ENDPOINT for a mirror) {again}; without one, copy the "
            f"checkpoint's files with a SHA256SUMS of them to the model cache as {spec.directory}/, or choose a model "
            "that comes in packages",
        )
    if error.code == NO_ACCESS:
        who = "the token in HF_TOKEN has no access to it" if token else "it asks for a token, and HF_TOKEN is not set"
        return HostError(
            f"{where} was refused: {who}",
            remedy=f"accept its licence at huggingface.co/{spec.repository}, set the token (export HF_TOKEN=hf_...), "
            f"{again}",
        )
    if error.code == NOT_THERE:
        return HostError(
            f"{where} does not exist on Hugging Face", remedy="correct model or revision in the stack file"
        )
    text = error.output.replace(token, "[HF_TOKEN]") if token else error.output
    return HostError(f"{where} could not be downloaded:\n{text[-2000:]}", remedy=again.removeprefix("and "))
