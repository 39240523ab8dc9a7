"""Writes docs/captures/*.txt, the captures in README.md and the tables of failures in docs/: scripts/captures

Each capture is what a command prints at 80 columns, after the command itself. Where only a part is shown, `...` stands
for the rest. Nothing here needs a GPU, a cluster or a network.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from host.drivers.minikube.signatures import CODES, SENTENCES  # noqa: E402
from probes.diagnosis.docker_signatures import DOCKER  # noqa: E402
from probes.diagnosis.engine_signatures import ENGINE  # noqa: E402
from probes.diagnosis.kubernetes_signatures import KUBERNETES  # noqa: E402
from probes.diagnosis.nvidia_signatures import NVIDIA, WORDS  # noqa: E402
from probes.diagnosis.problem import fill  # noqa: E402
from probes.diagnosis.signature import Signature  # noqa: E402

FOLDER = ROOT / "docs" / "captures"
PAGE = ROOT / "docs" / "troubleshooting.md"
LAYERS = ROOT / "docs" / "nvidia.md"
DOCKER_PAGE = ROOT / "docs" / "plain-docker.md"
MINIKUBE = ROOT / "docs" / "wsl2-minikube.md"
README = ROOT / "README.md"
SHOWN = re.compile(r"(<!-- capture: (\S+) -->\n```\n).*?(```\n)", re.DOTALL)
SHIPPED = ("Pulumi.dev.yaml", "Pulumi.rtx2060.yaml")
PROGRAM = ("cli", "stacks", "components", "host", "probes", "Pulumi.yaml", "pyproject.toml")
MACHINE = "memoryGiB=24,cpus=2"  # what stacks without a GPU are planned for, whatever machine this runs on
SMALL = """config:
  local-ai-lab:machine: {kind: nvidia, gpu: rtx-4060, memoryGiB: 32, cpus: 8}
  local-ai-lab:cluster: {driver: minikube}
  local-ai-lab:models:
    - {name: llama, model: llama-3.1-8b-instruct, contextTokens: 8192}
"""
WRONG = """config:
  local-ai-lab:machine: {kind: nvidia, gpu: rtx-4060, memoryGiB: lots, cpus: 8}
  local-ai-lab:cluster: {driver: minikub}
  local-ai-lab:models:
    - {name: llama, model: llama-3.1-8b-instruct}
"""
# The module's own folder is the real one; stack files are looked for in the temporary project.
RUN = """import sys
from pathlib import Path
import cli.options
cli.options.ROOT = Path(sys.argv.pop(1))
from cli.__main__ import main
main()
"""


@dataclass(frozen=True)
class Capture:
    """The words after ./lab, and what is kept of the output: from the line that starts with `begin` to the first empty
    line after it, or the first `lines` lines; all of it without either.
    """

    words: str
    begin: str | None = None
    lines: int | None = None

    def kept(self, text: str) -> str:
        """The part of the output that is shown. Raises ValueError where no line starts with `begin`."""
        found = text.splitlines()
        if self.begin is not None:
            start = [line.startswith(self.begin) for line in found].index(True)
            stop = found.index("", start)
            found = ["...", *found[start:stop], "..."]
        elif self.lines is not None and len(found) > self.lines:
            found = [*found[: self.lines], "..."]
        return "\n".join(line.rstrip() for line in found)


CAPTURES = {
    "plan": Capture("plan rtx2060"),
    "plan-memory": Capture("plan rtx2060", begin="card 0:"),
    "plan-why": Capture("plan dev --why", begin="Every setting"),
    "what-if": Capture("what-if rtx2060 --gpu rtx4090"),
    "fit": Capture("fit --gpu rtx2060-super"),
    "ambiguous": Capture("fit --gpu rtx2060"),
    "refused": Capture("plan small"),
    "wrong": Capture("validate wrong"),
    "validate": Capture("validate"),
    "models": Capture("models", lines=19),
    "gpus": Capture("gpus", lines=24),
    "commands": Capture("--help"),
}


def captures() -> dict[str, str]:
    """File name -> text."""
    with tempfile.TemporaryDirectory() as folder:
        shipped = _project(Path(folder) / "shipped")
        tried = _project(Path(folder) / "tried")
        for name in SHIPPED:
            (shipped / name).symlink_to(ROOT / name)
        (tried / "Pulumi.small.yaml").write_text(SMALL, encoding="utf-8")
        (tried / "Pulumi.wrong.yaml").write_text(WRONG, encoding="utf-8")

        def made(name: str) -> str:
            return _output(CAPTURES[name], tried if name in ("refused", "wrong") else shipped, Path(folder))

        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return {f"{name}.txt": text for name, text in zip(CAPTURES, pool.map(made, CAPTURES), strict=True)}


def _project(folder: Path) -> Path:
    folder.mkdir()
    for entry in PROGRAM:
        (folder / entry).symlink_to(ROOT / entry)
    return folder


def _output(capture: Capture, project: Path, home: Path) -> str:
    environment = {
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "COLUMNS": "80",
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "LAB_MACHINE": MACHINE,
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, str(project), *capture.words.split()],
        env=environment,
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = (done.stdout + done.stderr).replace(f"{project}/", "").rstrip()
    code = f"\n(exit code {done.returncode})" if done.returncode else ""
    return f"$ ./lab {capture.words}\n{capture.kept(said)}{code}\n"


def table(signatures: Sequence[Signature]) -> str:
    """A row for each failure: what it means, what to do, and where it was read."""
    rows = ["| what it means | what to type or change | read in |", "| --- | --- | --- |"]
    rows += [f"| {_cell(s.what)} | {_cell(s.remedy)} | {_cell(s.source)} |" for s in signatures]
    return "\n".join(rows)


def _cell(text: str) -> str:
    """What the log gives becomes a word in capitals, and what would end a cell is escaped."""
    return re.sub(r"\{(\w+)\}", lambda field: field[1].upper(), text).replace("|", "\\|")


def readme(text: str, made: dict[str, str]) -> str:
    """The README with its captures written again: `<!-- capture: NAME -->` and the code block after it."""
    return SHOWN.sub(lambda found: found[1] + made[f"{found[2]}.txt"] + found[3], text)


def page(text: str) -> str:
    """The troubleshooting page with its tables written again."""
    for name, signatures in (("engine", ENGINE), ("kubernetes", KUBERNETES)):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{table(signatures)}\n{end}{rest.split(end)[1]}"
    return text


def docker_page(text: str) -> str:
    """The page of plain Docker with its table written again."""
    head, rest = text.split("<!-- docker:begin -->")
    return f"{head}<!-- docker:begin -->\n{table(DOCKER)}\n<!-- docker:end -->{rest.split('<!-- docker:end -->')[1]}"


def nvidia_page(text: str) -> str:
    """The page of NVIDIA's layers with its two tables written again."""
    head = "| layer | what is {} | what it means | what to type | read in |"
    printed, seen = ([head.format(word), "| --- | --- | --- | --- | --- |"] for word in ("printed", "seen"))
    for s in NVIDIA:
        texts = "<br>".join(f"`{text}`" for text in s.texts)
        told = [_cell(s.what), _cell(fill(s.remedy, WORDS)), _cell(s.source)]
        if s.texts:
            printed.append(f"| {s.layer} | {' | '.join([texts, *told])} |")
        if s.seen:
            seen.append(f"| {s.layer} | {' | '.join([_cell(s.seen), *told])} |")
    for name, rows in (("printed", printed), ("seen", seen)):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        head, rest = text.split(begin)
        text = "\n".join([f"{head}{begin}", *rows, f"{end}{rest.split(end)[1]}"])
    return text


def minikube_page(text: str) -> str:
    """The page of minikube with the table of its failures written again."""
    rows = [f"| `{seen}` | {_cell(cause)} | {_cell(remedy)} |" for seen, cause, remedy in SENTENCES]
    for codes, cause, remedy in CODES:
        last = f" to {codes[-1]}" if len(codes) > 1 else ""
        rows.append(f"| minikube ends with {codes[0]}{last} | {_cell(cause)} | {_cell(remedy)} |")
    head, rest = text.split("<!-- minikube:begin -->")
    table = ["| what is seen | cause | what to type |", "| --- | --- | --- |", *rows]
    end = "<!-- minikube:end -->"
    return "\n".join([f"{head}<!-- minikube:begin -->", *table, f"{end}{rest.split(end)[1]}"])


def write() -> None:
    """Writes every capture, removes those that are no longer made, and fills the tables of failures."""
    FOLDER.mkdir(exist_ok=True)
    made = captures()
    for path in FOLDER.glob("*.txt"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8"), made), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    LAYERS.write_text(nvidia_page(LAYERS.read_text(encoding="utf-8")), encoding="utf-8")
    DOCKER_PAGE.write_text(docker_page(DOCKER_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    MINIKUBE.write_text(minikube_page(MINIKUBE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
