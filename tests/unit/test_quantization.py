"""Which scheme a config.json says, and what a scheme weighs."""

from typing import Any

import pytest
from pydantic import ValidationError

from stacks.catalog import load
from stacks.catalog.quantization import METHODS, SCHEMES, UnknownQuantizationError, named, scheme
from stacks.catalog.schema import Model
from stacks.planning.engines.vllm.memory.weights import bytes_per_weight


def _tensors(bits: int, kind: str = "int", *, inputs: bool = False, form: str = "pack-quantized") -> dict[str, Any]:
    group = {"weights": {"num_bits": bits, "type": kind}, "input_activations": {"num_bits": bits} if inputs else None}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group}}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (None, None),
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "gptq"}, "gptq"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bnb_nf4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bnb_int8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_algo": "FP8"}, "fp8"),
        (_tensors(4), "w4a16"),
        (_tensors(8), "w8a16"),
        (_tensors(8, inputs=True), "w8a8_int8"),
        (_tensors(8, form="int-quantized"), "w8a8_int8"),
        (_tensors(8, "float"), "fp8"),
        (_tensors(4, "float"), "nvfp4"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "fp8"),
    ],
)
def test_a_config_says_its_scheme(said: dict[str, Any] | None, name: str | None) -> None:
    assert scheme({"quantization_config": said}) == name
    assert scheme({"text_config": {"quantization_config": said}}) == name


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"quant_method": "magic"}, "magic"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED"}, "modelopt MIXED"),
        ({}, "without a quant_method"),
        ({"quant_method": "gguf"}, "gguf"),
        ({"quant_method": "w4a16"}, "w4a16"),
    ],
)
def test_what_is_not_in_the_table_is_said(said: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownQuantizationError, match=f"^{message}$"):
        scheme({"quantization_config": {"bits": 4, **said}})


def test_a_mixed_checkpoint_of_modelopt_is_one_of_four_bits_where_its_table_has_some() -> None:
    table = {"layers.0.attn": {"quant_algo": "FP8"}, "layers.0.mlp": {"quant_algo": "W4A16_NVFP4"}}
    said = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": table}
    assert scheme({"quantization_config": said}) == "nvfp4"
    del table["layers.0.mlp"]
    with pytest.raises(UnknownQuantizationError, match="modelopt MIXED_PRECISION"):
        scheme({"quantization_config": said})


def test_every_method_that_is_offered_is_read() -> None:
    more = {"modelopt": {"quant_algo": "FP8"}}
    for method in METHODS:
        assert scheme({"quantization_config": {"quant_method": method, **more.get(method, {})}}) in SCHEMES


def test_a_name_stands_for_one_scheme() -> None:
    names = [name for key, found in SCHEMES.items() for name in (key, *found.also)]
    assert len(names) == len(set(names))
    assert (named("AWQ_Marlin"), named("int4"), named("none")) == ("awq", "w4a16", None)


def test_the_name_of_a_scheme_says_its_bits() -> None:
    bits = {"8": 1.0, "6": 0.75, "5": 0.625, "4": 0.5}
    for name in SCHEMES:
        size = bytes_per_weight(name)
        number = next((bits[c] for c in name.removeprefix("bnb_").removeprefix("gguf_") if c in bits), 0.5)
        assert number <= size < number + 0.13, name
    assert bytes_per_weight(None) == bytes_per_weight("unknown") == 2.0


def test_an_entry_that_contradicts_its_config_is_refused() -> None:
    entry = load().model("phi-3-mini-4k-instruct-awq").model_dump(by_alias=True)
    for name, message in (("gptq", "quantization is gptq, and config says awq"), (None, "null, and config says awq")):
        with pytest.raises(ValidationError, match=message):
            Model.model_validate({**entry, "quantization": name})
    for name in ("compressed-tensors", "gguf_q4_k_m", "magic"):
        with pytest.raises(ValidationError, match=r"is none of awq, gptq, w4a16, .*bnb_int8"):
            Model.model_validate({**entry, "quantization": name})
