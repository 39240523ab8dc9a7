"""A model's files to an entry: from a folder and from the Hub, good ones and everything that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from probes import hub
from probes.checkpoint import Checkpoint, look
from stacks.catalog import Model
from stacks.catalog.checkpoint import CheckpointError, Found, entry, suggested_id
from tests.support.checkpoints import COMMIT, LLAMA, Hub, folder, safetensors, tiny_weights

WEIGHTS = tiny_weights()
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}


def _entry(seen: Checkpoint, name: str | None = None) -> tuple[str, Model]:
    ident, document = entry(Found(**{**vars(seen), "problems": tuple(seen.problems)}), name=name)
    return ident, Model.model_validate(document)


def _problems(seen: Checkpoint, name: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        _entry(seen, name)
    assert caught.value.exit_code == 2
    assert all(message and remedy for message, remedy in caught.value.problems)
    return str(caught.value)


# A folder


def test_a_folder_becomes_an_entry_with_its_shape_and_sizes(tmp_path: Path) -> None:
    ident, model = _entry(look(folder(tmp_path / "Tiny_Llama 2", {"config.json": LLAMA, "model.safetensors": WEIGHTS})))
    assert ident == "tiny-llama-2"
    assert model.weights_gib.value == pytest.approx(len(WEIGHTS) / 2**30, abs=0.001)
    assert model.parameters == "1.06M"
    assert (model.quantization, model.checkpoint_dtype, model.task, model.revision) == (
        None,
        "bfloat16",
        "completion",
        None,
    )
    assert model.config["num_hidden_layers"] == 2
    assert "bos_token_id" not in model.config and "transformers_version" not in model.config
    assert model.repository == "local/tiny-llama-2"


def test_the_hub_caches_own_folders_say_repository_and_commit(tmp_path: Path) -> None:
    path = tmp_path / "models--Qwen--Qwen3-0.6B" / "snapshots" / COMMIT
    seen = look(folder(path, {"config.json": LLAMA, "model.safetensors": WEIGHTS}))
    ident, model = _entry(seen, "my-qwen")
    assert (ident, model.repository, model.revision) == ("my-qwen", "Qwen/Qwen3-0.6B", COMMIT)


def test_the_index_says_the_size_and_which_files_count(tmp_path: Path) -> None:
    index = {
        "metadata": {"total_size": 3 * 2**30},
        "weight_map": {"a": "model-00001.safetensors", "b": "model-00002.safetensors"},
    }
    files: dict[str, Any] = {
        "config.json": LLAMA,
        "model.safetensors.index.json": index,
        "consolidated.safetensors": WEIGHTS,
    }
    files |= {"model-00001.safetensors": WEIGHTS, "model-00002.safetensors": WEIGHTS}
    model = _entry(look(folder(tmp_path / "m", files)))[1]
    assert model.weights_gib.value == 3.0
    assert "total_size" in model.weights_gib.source
    (tmp_path / "m" / "model-00002.safetensors").unlink()
    assert "1 of 2 weight files are missing: model-00002.safetensors" in _problems(look(tmp_path / "m"))


def test_a_second_copy_in_mistrals_form_is_not_counted_twice(tmp_path: Path) -> None:
    seen = look(
        folder(
            tmp_path / "m", {"config.json": LLAMA, "model.safetensors": WEIGHTS, "consolidated.safetensors": WEIGHTS}
        )
    )
    assert _entry(seen)[1].weights_gib.value == pytest.approx(len(WEIGHTS) / 2**30, abs=0.001)


def test_packed_tensors_count_as_the_parameters_that_they_hold(tmp_path: Path) -> None:
    packed = safetensors({"q.qweight": ("I32", [1000, 1250]), "q.scales": ("F16", [10, 1000])})
    seen = look(
        folder(tmp_path / "m-awq", {"config.json": {**LLAMA, "quantization_config": AWQ}, "model.safetensors": packed})
    )
    ident, model = _entry(seen)
    assert (model.quantization, model.parameters, model.devices) == ("awq", "10M", ("cuda",))
    assert (ident, model.family) == ("m-awq", "m")


def test_a_float32_checkpoint_weighs_half_on_the_device(tmp_path: Path) -> None:
    big = safetensors({"a": ("F32", [4000, 1000])})
    model = _entry(
        look(folder(tmp_path / "m", {"config.json": {**LLAMA, "torch_dtype": "float32"}, "model.safetensors": big}))
    )[1]
    assert model.parameters == "4M"
    assert model.weights_gib.value == pytest.approx(model.download_gib.value / 2, abs=0.001)


@pytest.mark.parametrize(
    ("extra", "task"),
    [
        ({"tokenizer_config.json": {"chat_template": "{{ x }}"}}, "chat"),
        ({"chat_template.jinja": "{{ x }}"}, "chat"),
        ({"tokenizer_config.json": {}}, "completion"),
        ({"modules.json": "[]"}, "embedding"),
    ],
)
def test_the_task_follows_from_what_lies_beside_the_weights(tmp_path: Path, extra: dict[str, Any], task: str) -> None:
    assert (
        _entry(look(folder(tmp_path / "m", {"config.json": LLAMA, "model.safetensors": WEIGHTS, **extra})))[1].task
        == task
    )


CROSS = {
    "architectures": ["XLMRobertaForSequenceClassification"], "model_type": "xlm-roberta", "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 1000,
    "max_position_embeddings": 130, "pad_token_id": 1, "torch_dtype": "bfloat16", "id2label": {"0": "LABEL_0"},
}  # fmt: skip
WHISPER = {
    "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "d_model": 64, "encoder_layers": 2,
    "encoder_ffn_dim": 128, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 128,
    "vocab_size": 1000, "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448,
    "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN3 = {**LLAMA, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 16}


@pytest.mark.parametrize(
    ("config", "name", "task"),
    [
        (CROSS, "m", "rerank"),
        (WHISPER, "m", "transcription"),
        (QWEN3, "Qwen3-Reranker-0.6B", "rerank"),
        (QWEN3, "m", "completion"),
    ],
)
def test_rerankers_and_models_for_speech_are_told_by_their_class_or_their_name(
    tmp_path: Path, config: dict[str, Any], name: str, task: str
) -> None:
    files = {"config.json": config, "model.safetensors": WEIGHTS}
    model = _entry(look(folder(tmp_path / name, files)), name="own")[1]
    assert model.task == task
    assert (model.hf_overrides is not None) == (name != "m")
    assert model.devices == (("cuda",) if task == "transcription" else ("cuda", "cpu"))


def test_the_template_of_an_original_reranker_is_named_where_it_has_one(tmp_path: Path) -> None:
    files = {"config.json": QWEN3, "model.safetensors": WEIGHTS, "chat_template.jinja": "{{ x }}", "modules.json": "[]"}
    model = _entry(look(folder(tmp_path / "Qwen3-Reranker-0.6B", files)), name="own")[1]
    assert (model.task, model.chat_template) == ("rerank", "chat_template.jinja")


def test_a_classifier_of_several_labels_is_no_reranker(tmp_path: Path) -> None:
    config = {**CROSS, "id2label": {"0": "bad", "1": "good"}}
    with pytest.raises(CheckpointError, match="sorts texts into 2 classes"):
        _entry(look(folder(tmp_path / "m", {"config.json": config, "model.safetensors": WEIGHTS})))


def test_the_licence_stands_in_the_model_card(tmp_path: Path) -> None:
    card = "---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: not this\n"
    assert (
        _entry(look(folder(tmp_path / "m", {"config.json": LLAMA, "model.safetensors": WEIGHTS, "README.md": card})))[
            1
        ].licence
        == "apache-2.0"
    )


def test_a_quantization_of_a_shipped_model_joins_its_family(tmp_path: Path) -> None:
    config = {**LLAMA, "quantization_config": AWQ}
    assert (
        _entry(look(folder(tmp_path / "Qwen3-8B-int4", {"config.json": config, "model.safetensors": WEIGHTS})))[
            1
        ].family
        == "qwen3-8b"
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "it has no config.json"),
        ({"config.json": LLAMA}, "it has no weights"),
        ({"config.json": "{", "model.safetensors": WEIGHTS}, "config.json is no JSON map"),
        ({"config.json": "[1]", "model.safetensors": WEIGHTS}, "config.json is no JSON map"),
        ({"config.json": "[" * 100_000, "model.safetensors": WEIGHTS}, "config.json is no JSON map"),
        ({"config.json": LLAMA, "pytorch_model.bin": b"\x80\x04."},
         "Python pickles only (pytorch_model.bin), which may run any code"),
        ({"config.json": LLAMA, "model.Q4_K_M.gguf": b"GGUF"}, "its weights are GGUF"),
        ({"config.json": {**LLAMA, "architectures": ["NoSuchModel"]}, "model.safetensors": WEIGHTS},
        "does not know its architecture: NoSuchModel"),
        ({"config.json": {**LLAMA, "architectures": []}, "model.safetensors": WEIGHTS},
        "does not know its architecture: none"),
        ({"config.json": {**LLAMA, "architectures": ["Phi4FlashForCausalLM"]}, "model.safetensors": WEIGHTS},
        "no longer serves"),
        ({"config.json": {**LLAMA, "model_type": None}, "model.safetensors": WEIGHTS}, "says no model_type"),
        ({"config.json": {**LLAMA, "hidden_size": None}, "model.safetensors": WEIGHTS}, "hidden_size"),
        ({"config.json": {**LLAMA, "quantization_config": {"quant_method": "magic"}}, "model.safetensors": WEIGHTS},
        "its quantization magic is none"),
        ({"config.json": LLAMA, "model.safetensors": "version https://git-lfs.github.com/spec/v1\n"},
        "Git LFS pointer"),
        ({"config.json": LLAMA, "model.safetensors": b"\x00" * 4096}, "is no safetensors file"),
        ({"config.json": LLAMA, "model.safetensors": WEIGHTS, "model.safetensors.index.json": "{}"},
        "index.json is unusable"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    assert said in _problems(look(folder(tmp_path / "m", files)))


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    config = {**LLAMA, "architectures": ["NoSuchModel"], "quantization_config": {"quant_method": "magic"}}
    text = _problems(look(folder(tmp_path / "m", {"config.json": config, "pytorch_model.bin": b"x"})), "Bad Name")
    for said in ("is no id", "pickles", "NoSuchModel", "magic"):
        assert said in text


def test_a_shipped_id_is_not_taken_again(tmp_path: Path) -> None:
    seen = look(folder(tmp_path / "qwen3-8b", {"config.json": LLAMA, "model.safetensors": WEIGHTS}))
    assert "already ships a model called qwen3-8b" in _problems(seen)
    assert _entry(seen, "qwen3-8b-mine")[0] == "qwen3-8b-mine"


@pytest.mark.parametrize(
    ("repository", "ident"),
    [
        ("Qwen/Qwen3-0.6B", "qwen3-0.6b"),
        ("a/B_c--D", "b-c-d"),
        ("some/where/x/", "x"),
        ("o/..-", "model"),
        ("o/" + "x" * 96, "x" * 80),
    ],
)
def test_an_id_is_made_of_the_last_part_of_the_name(repository: str, ident: str) -> None:
    assert suggested_id(repository) == ident


# The Hub

FILES = {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": WEIGHTS, "original/consolidated.00.pth": b"x"}


@pytest.fixture(autouse=True)
def _no_settings_of_whoever_runs_this(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_ENDPOINT",
        "HF_HOME",
        "HF_HUB_OFFLINE",
        "HF_TOKEN_PATH",
        "XDG_CACHE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)


def test_a_repository_becomes_an_entry_pinned_to_its_commit() -> None:
    fake = Hub(
        FILES, card={"license": "mit"}, parameters={"BF16": 1_235_814_400}, sizes={"model.safetensors": 2_471_645_608}
    )
    ident, model = _entry(hub.look("owner/model", transport=fake))
    assert (ident, model.repository, model.revision, model.licence) == ("model", "owner/model", COMMIT, "mit")
    assert (model.parameters, model.weights_gib.value) == ("1.24B", 2.302)
    assert fake.asked == ["/api/models/owner/model/revision/main", f"/owner/model/resolve/{COMMIT}/config.json"]


def test_a_revision_is_asked_for_and_answered_with_its_commit() -> None:
    fake = Hub(FILES, revisions=("refs%2Fpr%2F3", "refs/pr/3"))
    assert hub.look("owner/model", "refs/pr/3", transport=fake).revision == COMMIT


def test_the_token_goes_along_and_is_found_where_the_hubs_tools_leave_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "token").write_text("hf_file\n")
    fake = Hub(FILES)
    hub.look("owner/model", transport=fake)
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    hub.look("owner/model", transport=fake)
    assert set(fake.tokens[:2]) == {"Bearer hf_file"} and set(fake.tokens[2:]) == {"Bearer hf_env"}


def test_another_endpoint_is_asked_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example:8080/")
    hosts = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return Hub(FILES).handle_request(request)

    assert not hub.look("owner/model", transport=httpx.MockTransport(answer)).problems
    assert set(hosts) == {"hub.example"}


@pytest.mark.parametrize(
    ("fake", "said", "remedy"),
    [
        (Hub(FILES, denied=(401, "RepoNotFound")), "no model repository owner/model", "hf auth login"),
        (Hub(FILES, denied=(404, "RepoNotFound")), "no model repository owner/model", "check the name"),
        (Hub(FILES, denied=(403, "GatedRepo")), "is gated", "accept the licence on https://huggingface.co/owner/model"),
        (Hub(FILES, denied_files=(401, "GatedRepo")), "is gated", "accept the licence"),
        (Hub(FILES, denied_files=(403, "GatedRepo")), "is gated", "set HF_TOKEN"),
        (Hub(FILES, revisions=()), "has no revision main", "leave --revision out"),
        (Hub(FILES, denied=(429, "")), "too many requests", "try again"),
        (Hub(FILES, denied=(503, "")), "the Hub answered 503", "hf download owner/model"),
        (Hub({"model.safetensors": WEIGHTS}), "it has no config.json", "that holds the model itself"),
        (Hub({**FILES, "config.json": b"<html>"}), "config.json is no JSON map", "again"),
        (Hub({"config.json": FILES["config.json"], "pytorch_model.bin": b""}), "pickles", "safetensors"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(fake: Hub, said: str, remedy: str) -> None:
    text = _problems(hub.look("owner/model", transport=fake))
    assert said in text and remedy in text


def test_without_a_network_the_folder_is_the_way() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Name or service not known", request=request)

    text = _problems(hub.look("owner/model", transport=httpx.MockTransport(broken)))
    assert "cannot be asked" in text
    assert "hf download owner/model --local-dir model" in text and "./lab model add model" in text
    assert "no config.json" not in text and "no weights" not in text  # what follows from it is not said again


def test_offline_by_wish_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fake = Hub(FILES)
    assert "HF_HUB_OFFLINE is set" in _problems(hub.look("owner/model", transport=fake))
    assert fake.asked == []


def test_an_answer_that_is_no_hubs_is_refused() -> None:
    fake = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>log in to this network</html>"))
    assert "none that its documentation describes" in _problems(hub.look("owner/model", transport=fake))
