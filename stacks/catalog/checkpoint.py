"""From what a checkpoint's files say to an entry of the catalogue. Pure: reading the files is probes/checkpoint.py's
and probes/hub.py's part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from stacks.catalog.entries import read_yaml
from stacks.catalog.loader import load, ships
from stacks.catalog.quantization import METHODS, SCHEMES, UnknownQuantizationError, scheme
from stacks.catalog.schema import Model, is_id, text_config
from stacks.catalog.task_of import label_problem, task_of
from stacks.errors import CatalogError, LabError, shown
from stacks.planning.engines.vllm.memory.hf_config import read_hf_config

GIB = 2**30
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_PACKED = frozenset({"I32", "U8"})  # dtypes that hold several quantized values in one
# vLLM config/model.py: float16 makes their numbers overflow
_NOT_IN_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
_BITS = 32
_LONGEST_LIST = 8  # module names that stay in 16 bit run to hundreds and say no more than their first ones
_NOISE = re.compile(
    r"^_|_token_id$|_token_ids$|_dropout$|dropout_|pdrop$|^(transformers_version|auto_map|use_cache|initializer_range|"
    r"id2label|label2id"
    r"|task_specific_params|problem_type|output_router_logits|pretraining_tp|custom_pipelines)$"
)
_QUANTIZED = re.compile(
    r"[-.](awq|gptq|fp8|nvfp4|mxfp4|bnb|w4a16|w8a8|w8a16|int4|int8|4bit|8bit|quantized|dynamic|g128|bf16)(?=[-.]|$)"
)


class CheckpointError(LabError):
    """A checkpoint cannot become an entry; says everything that is wrong with it at once."""

    exit_code = 2

    def __init__(self, where: str, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        text = "\n".join(f"  {message}\n    -> {remedy}" for message, remedy in self.problems)
        super().__init__(f"{where} cannot be added to the catalogue:\n\n{text}")


@dataclass(frozen=True)
class Found:
    """What was read of a checkpoint. `sizes` are bytes by file name, top folder only; `elements` counts values by
    safetensors dtype.

    `total_bytes` is the safetensors index's total_size; `listed` are the files that this index names.
    """

    where: str
    repository: str | None
    revision: str | None
    config: Any
    sizes: Mapping[str, int]
    total_bytes: int | None = None
    listed: frozenset[str] = frozenset()
    elements: Mapping[str, int] = field(default_factory=dict)
    licence: str | None = None
    chat_template: bool = False
    problems: tuple[tuple[str, str], ...] = ()

    @property
    def weight_files(self) -> dict[str, int]:
        """The safetensors that vLLM would load: those of the index, or all but a second copy in Mistral's own form."""
        every = {name: size for name, size in self.sizes.items() if name.endswith(".safetensors")}
        if self.listed:
            return {name: size for name, size in every.items() if name in self.listed}
        plain = {name: size for name, size in every.items() if not name.startswith("consolidated")}
        return plain or every


def entry(found: Found, *, name: str | None) -> tuple[str, dict[str, Any]]:
    """The id and the YAML document of the entry. Raises CheckpointError with everything that is wrong."""
    ident = name or suggested_id(found.repository or found.where)
    config = found.config if isinstance(found.config, Mapping) else {}
    problems = [*found.problems, *_id_problems(ident), *_file_problems(found), *_config_problems(config)]
    quantization = None
    try:
        quantization = scheme(config)
    except UnknownQuantizationError as error:
        message = f"its quantization {shown(str(error))} is none that vLLM and the planner know"
        problems.append((message, f"choose one of: {', '.join(METHODS)}"))
    if problems:
        raise CheckpointError(found.where, problems)
    document = _document(found, ident, config, quantization)
    Model.model_validate(document)
    return ident, document


def suggested_id(repository: str) -> str:
    """An id made of the last part of a repository's name or a folder's path."""
    last = repository.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9.]+", "-", last).strip("-.")[:80].strip("-.") or "model"


def _id_problems(ident: str) -> list[tuple[str, str]]:
    if not is_id(ident):
        return [
            (f"{shown(ident)} is no id: small letters, digits, dots and hyphens, at most 80", "give another: --name ID")
        ]
    if ships(ident):
        return [
            (f"the lab already ships a model called {ident}", "use that one, or give this one another id: --name ID")
        ]
    return []


def _file_problems(found: Found) -> list[tuple[str, str]]:
    if not found.sizes and found.problems:
        return []  # nothing could be read, and that was said
    weights = found.weight_files
    if missing := sorted(found.listed - set(found.sizes)):
        some = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        return [
            (
                f"{len(missing)} of {len(found.listed)} weight files are missing: {some}",
                "download the rest of the repository",
            )
        ]
    if weights:
        return []
    pickles = sorted(name for name in found.sizes if name.endswith(_PICKLES) and name != "training_args.bin")
    if pickles:
        said = f"its weights are Python pickles only ({pickles[0]}), which may run any code when they are loaded"
        return [
            (
                said,
                "take a repository with *.safetensors; many have a conversion in their pull requests (refs/pr/N as "
                "--revision)",
            )
        ]
    if any(name.endswith(".gguf") for name in found.sizes):
        return [
            (
                "its weights are GGUF, whose memory the planner does not predict",
                "take the repository that it was made from",
            )
        ]
    return [
        (
            "it has no weights: no *.safetensors",
            "give the folder or repository that holds the model itself, not an adapter or a copy of its code",
        )
    ]


def _config_problems(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not config:
        return []  # what there is to say of it was said when it was read
    known = _architectures()
    named = config.get("architectures")
    names = [n for n in named if isinstance(n, str)] if isinstance(named, list) else []
    if not isinstance(config.get("model_type"), str):
        return [("config.json says no model_type", "take the config.json of the repository as it is")]
    if not any(n in known[kind] for n in names for kind in ("generate", "embed", "rerank")):
        if former := [f"{n} (until {known['formerly'][n]})" for n in names if n in known["formerly"]]:
            return [(f"vLLM no longer serves the architecture {', '.join(former)}", "take another model")]
        said = shown(", ".join(names)) if names else "none"
        return [(f"vLLM does not know its architecture: {said}", f"take another model; known ones: {known['source']}")]
    if problem := label_problem(config, known):
        return [problem]
    try:
        read_hf_config(config)
    except CatalogError as error:
        return [(error.message, error.remedy)]
    except (TypeError, ValueError, ArithmeticError) as error:
        return [
            (
                f"config.json holds a value that makes no sense: {shown(str(error))}",
                "take the config.json of the repository as it is",
            )
        ]
    return []


def _document(found: Found, ident: str, config: Mapping[str, Any], quantization: str | None) -> dict[str, Any]:
    dtype = str(
        config.get("torch_dtype") or config.get("dtype") or text_config(config).get("torch_dtype") or "bfloat16"
    )
    dtype = dtype.removeprefix("torch.")
    stored = found.total_bytes or sum(found.weight_files.values())
    halved = dtype == "float32" and quantization is None
    what = "total_size of the safetensors index" if found.total_bytes else "sizes of its safetensors"
    where = found.where if found.revision is None else f"{found.where} at {found.revision[:12]}"
    called = suggested_id(found.repository or found.where)
    use = task_of(called, config, found.sizes, _architectures(), chat_template=found.chat_template)
    kind = str(config.get("model_type"))
    return {
        "repository": found.repository or f"local/{ident}",
        "revision": found.revision,
        "revisionNote": "what `lab model add` read" if found.revision else "read from a folder that names no commit",
        **({"devices": ["cuda"]} if quantization or "devices" in use else {}),
        "licence": found.licence or "not stated; see the repository",
        "task": use["task"],
        "family": _family(ident),
        "parameters": _parameters(found, quantization, stored, dtype),
        "quantization": quantization,
        "checkpointDtype": dtype if dtype in ("bfloat16", "float16", "float32") else "bfloat16",
        "float16": kind not in _NOT_IN_FLOAT16 and quantization != "mxfp4",
        "weightsGiB": {
            "value": _gib(stored / 2 if halved else stored),
            "kind": "specification",
            "ref": f"{what}, {where}" + ("; halved: vLLM serves float32 checkpoints in 16 bit" if halved else ""),
        },
        "downloadGiB": {
            "value": _gib(sum(found.weight_files.values()) or stored),
            "kind": "specification",
            "ref": f"sizes of its safetensors, {where}",
        },
        "configSource": {"kind": "specification", "ref": f"config.json of {where}"},
        **{key: use[key] for key in ("hfOverrides", "chatTemplate") if key in use},
        "config": _shape(config),
    }


def _gib(size: float) -> float:
    """GiB with three digits after the point, and never nothing: a tiny test model weighs something too."""
    return max(0.001, round(size / GIB, 3))


def _parameters(found: Found, quantization: str | None, stored: int, dtype: str) -> str:
    """How many parameters, from the tensors' dtypes where they are known: packed ones count as what they unpack to."""
    if found.elements:
        bits = {"I32": _BITS // 4, "U8": 2} if quantization else {}
        count = float(
            sum(
                n * bits.get(kind, 1)
                for kind, n in found.elements.items()
                if kind in _PACKED or kind == "I8" or kind[:1] in "BF"
            )
        )
    else:
        count = (
            stored / (4 if dtype == "float32" else 2)
            if quantization is None
            else stored / (1 if SCHEMES[quantization].size >= 1 else 0.6)
        )
    if count >= 1e9:
        return f"{count / 1e9:.3g}B"
    return f"{max(0.01, count / 1e6):.3g}M" if count < 999.5e6 else "1B"


def _family(ident: str) -> str:
    """The family of a shipped model that this one is a quantization of, else its own id without the quantization's
    name.
    """
    plain = _QUANTIZED.sub("", ident)
    for candidate in (plain, f"{plain}-instruct", plain.removeprefix("meta-")):
        if ships(candidate):
            return load().model(candidate).family
    return plain or ident


def _shape(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what says nothing of the shape: token ids, dropout, long lists of module names."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if _NOISE.search(str(key)) and key != "n_group":
            continue
        if isinstance(value, Mapping):
            kept[str(key)] = _shape(value)
        elif isinstance(value, list) and key in (
            "ignore",
            "modules_to_not_convert",
            "ignored_layers",
            "exclude_modules",
        ):
            kept[str(key)] = value if len(value) <= _LONGEST_LIST else value[:_LONGEST_LIST]
        else:
            kept[str(key)] = value
    return kept


@cache
def _architectures() -> dict[str, Any]:
    file = "architectures.yaml"
    return dict(read_yaml((Path(__file__).parent / file).read_text(encoding="utf-8"), f"stacks/catalog/{file}"))
