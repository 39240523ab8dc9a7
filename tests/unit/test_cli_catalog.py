"""lab gpus, lab models and lab model add, as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

import cli.__main__ as command_line
from cli import models_app
from cli.commands import model_add
from stacks.catalog import load
from stacks.errors import LabError
from tests.support.checkpoints import COMMIT, LLAMA, Hub, folder, tiny_weights
from tests.support.stacks import ROOT

FILES = {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": tiny_weights()}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(models_app, "ROOT", tmp_path)
    return tmp_path


def _lab(*arguments: str) -> str:
    done = CliRunner().invoke(command_line.app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def _refused(*arguments: str) -> str:
    with pytest.raises(LabError) as caught:
        CliRunner().invoke(command_line.app, list(arguments), catch_exceptions=False)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_gpus_lists_every_card_with_its_figures(project: Path) -> None:
    text = _lab("gpus")
    for name in load().gpus:
        assert f"{name} " in text
    (row,) = (line for line in text.splitlines() if line.startswith("rtx-4090 "))
    assert row.split()[1:7] == ["23.50", "23.99", "8.9", "1008", "165.2", "450"]


def test_gpus_as_json_carries_value_and_source(project: Path) -> None:
    document = json.loads(_lab("gpus", "--json"))
    assert document["l4"]["memory"]["linux"] == {
        "value": 21.96,
        "kind": "measured",
        "ref": "vLLM log, public-log:59058689281",
    }
    assert len(document) == len(load().gpus)


def test_sources_are_shown_when_asked_for(project: Path) -> None:
    assert "GiB linux 21.96: vLLM log, public-log:59058689281" in _lab("gpus", "--sources")
    assert "weights 2.14 GiB: download and load size of the AWQ checkpoint" in _lab("models", "--sources")


def test_models_lists_the_shipped_ones_and_marks_ones_own(project: Path) -> None:
    assert "(own)" not in _lab("models")
    _lab(
        "model",
        "add",
        str(folder(project / "m", {"config.json": LLAMA, "model.safetensors": tiny_weights()})),
        "--name",
        "mine",
    )
    text = _lab("models")
    assert "mine (own)" in text and "1 of your own in catalog/" in text
    row = next(line for line in text.splitlines() if line.startswith("llama-3.1-8b-instruct "))
    assert row.split()[1:6] == ["8.03B", "14.99", "131.1", "-", "chat"]
    document = json.loads(_lab("models", "--json"))
    assert document["mine"]["own"] and not document["qwen3-8b"]["own"]
    assert document["qwen3-8b"]["kvBytesPerToken"] == 147_456


def test_a_narrow_terminal_gets_the_title_and_a_block_for_each_model(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = _lab("models").splitlines()
    assert lines[0].startswith("Models. GiB of weights on the device;")
    assert max(map(len, lines)) <= 80
    assert lines[lines.index("phi-2") + 1].startswith("    parameters 2.78B, GiB 5.18,")


def test_a_broken_entry_of_ones_own_is_said_after_the_others(project: Path) -> None:
    folder(project / "catalog", {"bad.yaml": "x: 1"})
    assert "catalog/bad.yaml: bad contradicts the schema" in _refused("models")


def test_add_writes_an_entry_that_the_catalogue_reads_and_says_what_is_next(project: Path) -> None:
    source = folder(project / "Tiny-Llama", {"config.json": LLAMA, "model.safetensors": tiny_weights()})
    text = _lab("model", "add", str(source))
    assert "+ catalog/tiny-llama.yaml" in text
    assert "next: write `model: tiny-llama` into a stack file, then: ./lab validate" in text
    model = load(project).model("tiny-llama")
    assert model.config["hidden_size"] == 64 and not model.shipped
    assert [p.name for p in (project / "catalog").iterdir()] == ["tiny-llama.yaml"]


def test_add_does_not_write_over_an_entry_unless_told_to(project: Path) -> None:
    source = str(folder(project / "m", {"config.json": LLAMA, "model.safetensors": tiny_weights()}))
    _lab("model", "add", source)
    written = project / "catalog" / "m.yaml"
    written.write_text("mine: changed by hand\n")
    assert "catalog/m.yaml is there already" in _refused("model", "add", source)
    assert written.read_text() == "mine: changed by hand\n"
    _lab("model", "add", source, "--force")
    assert load(project).model("m")


def test_add_as_json_prints_the_entry(project: Path) -> None:
    source = str(folder(project / "m", {"config.json": LLAMA, "model.safetensors": tiny_weights()}))
    document = json.loads(_lab("model", "add", source, "--json"))
    assert document["file"] == "catalog/m.yaml"
    assert yaml.safe_load((project / "catalog" / "m.yaml").read_text()) == document["model"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-folder"], "neither a folder here nor a repository"),
        (["a/b/c"], "neither a folder here nor a repository"),
        (["../../etc/passwd"], "neither a folder here nor a repository"),
        (["https://huggingface.co/a/b"], "neither a folder here nor a repository"),
        (["owner/model", "--revision", "../../x"], "is no revision"),
        ([".", "--revision", "main"], "this is a folder"),
        (["."], "it has no config.json"),
    ],
)
def test_add_refuses_bad_input_and_writes_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(project)
    assert said in _refused("model", "add", *arguments)
    assert not (project / "catalog").exists()


def test_a_failed_write_leaves_nothing_behind(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(folder(project / "m", {"config.json": LLAMA, "model.safetensors": tiny_weights()}))
    monkeypatch.setattr(model_add.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert "cannot be written: No space left on device" in _refused("model", "add", source)
    assert list((project / "catalog").iterdir()) == []


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The strict Hub on a port of its own: what HF_ENDPOINT is for."""
    fake = Hub(FILES)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = fake.handle_request(
                httpx.Request("GET", f"http://hub{self.path}", headers=dict(self.headers.items()))
            )
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            for name in ("x-error-code", "content-type"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("HF_TOKEN", "HF_HOME", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_add_reads_a_repository_from_the_hub(project: Path, served: str) -> None:
    _lab("model", "add", "owner/model", "--name", "from-hub")
    assert load(project).model("from-hub").revision == COMMIT
    assert "no model repository owner/other" in _refused("model", "add", "owner/other")
    assert "has no revision dev" in _refused("model", "add", "owner/model", "--name", "x", "--revision", "dev")


def test_the_command_prints_a_refusal_and_exits_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "model", "add", "no-such-folder"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no-such-folder is neither a folder here nor a repository")
