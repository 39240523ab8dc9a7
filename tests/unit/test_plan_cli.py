"""`lab plan`, `lab what-if`, `lab fit`: what they print, for people and for machines, and what they say to bad
input.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cli.__main__ import app
from cli.commands.plan import run as run_plan
from cli.fuzzy_match import find
from cli.render.svg import plan_svg
from components.rendered import objects
from stacks.catalog import load
from stacks.errors import LabError, PlanError, SettingsError
from stacks.planning.engines.vllm.networks import network
from tests.support.stacks import ROOT, STACKS, plan


def _lab(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _refused(*arguments: str) -> LabError:
    result = CliRunner().invoke(app, [*arguments])
    assert isinstance(result.exception, LabError), result.output
    return result.exception


def test_a_plan_shows_cards_budgets_models_and_the_decisions_that_matter() -> None:
    text = _lab("plan", "rtx2060")
    for part in (
        "card 0: NVIDIA GeForce RTX 2060 SUPER, 8.00 GiB",
        "KV cache",
        "error band",
        "host memory",
        "disk",
        "ports",
        "throughput bound",
    ):
        assert part in text
    for decision in plan("rtx2060").all_decisions():
        assert decision.name in text or decision.kind not in ("stated", "degraded")


def test_a_plan_with_why_shows_every_decision_and_with_sources_where_it_comes_from() -> None:
    text, sourced = _lab("plan", "rtx2060", "--why"), _lab("plan", "rtx2060", "--why", "--sources")
    for decision in plan("rtx2060").all_decisions():
        assert decision.name in text
    assert "[stack file]" in sourced
    assert "[stack file]" not in text


@pytest.mark.long
@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize(
    "words",
    [
        ["plan", "rtx2060"],
        ["plan", "dev", "--why"],
        ["gpus"],
        ["models"],
        ["fit", "--gpu", "rtx4060"],
        ["what-if", "rtx2060", "--gpu", "rtx4090"],
    ],
)
def test_nothing_is_folded_in_a_first_column_and_lines_keep_to_the_terminal(
    words: list[str], columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = _lab(*words).splitlines()
    assert lines == [line.rstrip() for line in lines]
    long = [
        line
        for line in lines
        if len(line) > int(columns) and " " in line.strip() and not line.lstrip().startswith(("$ ", "--", "error", "["))
    ]
    assert [line for line in long if not line.startswith(("GPUs.", "Models.", "NVIDIA", "throughput bound:"))] == []
    names = {"plan": "endpoint.auth", "gpus": "rtx-4070-ti-super", "models": "phi-3-mini-4k-instruct-awq",
    "fit": "mistral-7b-instruct-v0.3-gptq",
             "what-if": "phi-3-mini.kvCacheMemoryBytes"}  # fmt: skip
    assert any(line.strip().startswith(names[words[0]]) for line in lines)


def test_a_plan_as_json_is_the_plan() -> None:
    assert json.loads(_lab("plan", "rtx2060", "--json")) == json.loads(plan("rtx2060").to_json())
    assert set(json.loads(_lab("plan", "--json"))) >= {"dev", "rtx2060"}


def test_a_plan_lists_every_change_to_the_machine() -> None:
    for stack in STACKS:
        text = _lab("plan", stack)
        assert "Changes to this machine  (`up` asks first)" in text
        for change in plan(stack).host_changes:
            assert f"  {'root' if change.root else 'user'}  {change.kind:8}  {change.what}" in text
            assert change.command is None or f"$ {change.command}" in re.sub(r" \\\n\s+", " ", text)
            assert (change.note or "") in " ".join(text.split())
        assert len(json.loads(_lab("plan", stack, "--json"))["hostChanges"]) == len(plan(stack).host_changes) >= 4


def test_manifests_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["plan", "rtx2060", "--json", "--manifests", str(tmp_path / "a" / "out")], catch_exceptions=False
    )
    assert json.loads(done.stdout) == json.loads(plan("rtx2060").to_json())
    assert done.stderr == f"wrote 15 manifests into {tmp_path / 'a' / 'out'}\n"
    files = sorted((tmp_path / "a" / "out").iterdir())
    written = [yaml.safe_load(path.read_text()) for path in files]
    assert written == list(objects(plan("rtx2060")).values())
    kinds = [thing["kind"] for thing in written]
    assert kinds.index("Namespace") < kinds.index("DaemonSet") < kinds.index("Deployment")
    assert files[0].name == "01-namespace-nvidia-device-plugin.yaml"
    assert "&id" not in "".join(path.read_text() for path in files)


def test_manifests_go_into_a_folder_of_their_own_and_are_those_of_one_stack(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    assert "is not an empty folder" in str(_refused("plan", "dev", "--manifests", str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert "is not an empty folder" in str(_refused("plan", "dev", "--manifests", str(tmp_path / "mine.txt")))
    assert "cannot be written" in str(_refused("plan", "dev", "--manifests", "/proc/nothing/here"))
    assert f"./lab plan {STACKS[0]} --manifests x" in str(_refused("plan", "--manifests", "x"))


@pytest.mark.long
def test_a_plan_that_does_not_fit_writes_nothing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    text = (ROOT / "Pulumi.rtx2060.yaml").read_text()
    assert "diskFreeGiB" in text
    (tmp_path / "Pulumi.small.yaml").write_text(re.sub(r"diskFreeGiB: \d+", "diskFreeGiB: 1", text))
    for stack in ("small", None):
        with pytest.raises(PlanError):
            run_plan(tmp_path, stack, as_json=False, svg=None, manifests=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_plan_with_manifests_needs_neither_pulumi_nor_a_network(tmp_path: Path) -> None:
    text = (
        "import sys\n"
        "sys.addaudithook(lambda event, _: event.startswith(('socket.', 'subprocess.')) and sys.exit(event))\n"
        "from cli.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", text, "plan", "dev", "--json", "--manifests", str(tmp_path / "out")], cwd=tmp_path,
        timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/nowhere", "HOME": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == len(objects(plan("dev")))
    assert json.loads(done.stdout)["stack"] == "dev"
    for module in ("pulumi", "pulumi_kubernetes", "pulumi_command", "grpc", "httpx", "cryptography"):
        assert f"'{module}'" not in done.stderr, module


def test_the_picture_is_small_valid_alone_and_always_the_same(tmp_path: Path) -> None:
    made = tmp_path / "plan.svg"
    _lab("plan", "rtx2060", "--svg", str(made))
    text = made.read_text()
    assert text == plan_svg(plan("rtx2060"))
    assert len(text) < 10_000
    assert "prefers-color-scheme:dark" in text and "@import" not in text and "<script" not in text
    root = ET.fromstring(text)  # noqa: S314  (our own text)
    words = " ".join(e.text or "" for e in root.iter())
    assert "KV cache" in words and plan("rtx2060").digest in words
    assert text.count("http") == 1  # the namespace, and nothing else from elsewhere


def test_a_picture_of_several_stacks_is_refused_with_the_line_to_type() -> None:
    assert f"./lab plan {STACKS[0]} --svg x.svg" in str(_refused("plan", "--svg", "x.svg"))


def test_what_if_shows_both_plans_side_by_side() -> None:
    text = _lab("what-if", "rtx2060", "--gpu", "rtx4090", "--context", "2048")
    assert "1 x NVIDIA GeForce RTX 2060 SUPER" in text and "1 x NVIDIA GeForce RTX 4090" in text
    assert "phi-3-mini.maxModelLen" in text and "KV tokens" in text


def test_what_if_for_machines_lists_the_differences() -> None:
    document = json.loads(_lab("what-if", "rtx2060", "--replicas", "1", "--concurrency", "4", "--json"))
    assert document["present"]["digest"] == plan("rtx2060").digest
    assert {"setting": "phi-3-mini.maxNumSeqs", "present": "8", "whatIf": "4"} in document["differences"]


def test_what_if_turns_a_machine_without_a_gpu_into_one_with_it() -> None:
    text = _lab("what-if", "dev", "--gpu", "l4", "--model", "llama-3.2-1b-instruct")
    assert "NVIDIA L4" in text and "no GPU" in text


def test_what_does_not_fit_is_refused_with_settings_that_do() -> None:
    error = _refused("what-if", "rtx2060", "--model", "llama-3.1-8b-instruct")
    assert isinstance(error, PlanError)
    assert error.proposals and error.exit_code == 2


def test_everything_wrong_on_the_command_line_comes_at_once() -> None:
    error = _refused(
        "what-if", "rtx2060", "--gpu", "rtx40", "--model", "nope", "--context", "3", "--kv-cache-dtype", "int4"
    )
    assert isinstance(error, SettingsError)
    text = str(error)
    for part in ("--gpu", "rtx-4060", "--model", "lab models", "contextTokens", "kvCacheDtype"):
        assert part in text
    assert len(error.problems) == 4
    error = _refused("fit", "--gpu", "voodoo", "--platform", "beos", "--context", "1", "--concurrency", "0")
    assert isinstance(error, SettingsError) and len(error.problems) == 4


def test_a_place_beyond_the_models_is_said() -> None:
    assert "the stack file has 1 models" in str(_refused("what-if", "rtx2060", "--place", "3"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("rtx4090", "rtx-4090"),
        ("RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 2060 SUPER", "rtx-2060-super"),
        ("rtx_4090", "rtx-4090"),
    ],
)
def test_names_are_taken_as_people_type_them(typed: str, meant: str) -> None:
    assert find(typed, load().gpus) == meant


def test_a_name_that_means_several_is_asked_about() -> None:
    found = find("rtx40", load().gpus)
    assert isinstance(found, list) and "rtx-4090" in found


def test_fit_ranks_the_largest_model_first_and_every_row_was_planned() -> None:
    document: dict[str, Any] = json.loads(_lab("fit", "--gpu", "rtx4060", "--json"))
    models = document["models"]
    assert len(models) > 5
    sizes = [load().model(m["model"]).parameter_count for m in models]
    assert sizes == sorted(sizes, reverse=True)
    assert all(m["longestContext"] >= min(4096, m["longestContext"]) for m in models)
    encoders = {name for name, model in load().models.items() if network(model).encoder}
    assert all((m["memory"]["kvCacheGiB"] == 0) == (m["model"] in encoders) for m in models)
    assert "llama-3.1-8b-instruct" not in {m["model"] for m in models}  # 15 GiB of weights
    everything = json.loads(_lab("fit", "--gpu", "rtx4060", "--all", "--json"))["models"]
    assert len(everything) > len(models)
    assert all(m["fits"] or m["refusal"] for m in everything)


def test_fit_prints_a_table() -> None:
    text = _lab("fit", "--gpu", "rtx2060super", "--platform", "wsl2")
    assert "phi-3-mini-4k-instruct-awq" in text and "longest context" in text


def test_the_tables_of_the_document_are_what_the_planner_says() -> None:
    path = ROOT / "docs" / "planning_tables.py"
    spec = importlib.util.spec_from_file_location("planning_tables", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "planning.md").read_text()
    assert module.filled(text) == text, "type: python docs/planning_tables.py"


def test_the_picture_of_the_document_is_the_plan() -> None:
    assert (ROOT / "docs" / "samples" / "plan.svg").read_text() == plan_svg(plan("rtx2060")), (
        "type: ./lab plan rtx2060 --svg docs/samples/plan.svg"
    )
