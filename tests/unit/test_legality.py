"""What runs on which card, and the words that the engine would have died with."""

import pytest

from stacks.catalog.legality import KvDtype
from stacks.catalog.legality import load as table
from stacks.catalog.quantization import SCHEMES
from stacks.catalog.versions import parse
from stacks.planning.engines.vllm import legality

TURING, AMPERE, ADA, HOPPER, BLACKWELL = (7, 5), (8, 6), (8, 9), (9, 0), (12, 0)


def test_bfloat16_on_turing_ends_with_vllms_sentence_and_names_float16() -> None:
    illegal = legality.check_dtype("bfloat16", TURING, "NVIDIA GeForce RTX 2060 SUPER")
    assert illegal
    assert "Bfloat16 is only supported on GPUs with compute capability of at least 8.0." in illegal.would_say
    assert "float16" in illegal.nearest
    assert legality.check_dtype("bfloat16", AMPERE, "a") is None


@pytest.mark.parametrize(
    ("quantization", "engine", "least"),
    [
        ("awq", "0.6.3", (7, 5)),
        ("w4a16", "0.13.0", (8, 0)),
        ("w4a16", "0.14.0", (7, 5)),
        ("gptq", "0.31.0", (6, 0)),
        ("fp8", "0.13.2", (8, 0)),
        ("fp8", "0.31.0", (7, 5)),
        ("nvfp4", "0.8.5", (10, 0)),
        ("nvfp4", "0.10.2", (8, 0)),
        ("nvfp4", "0.33.0", (7, 5)),
        ("mxfp4", "0.31.0", (8, 0)),
        ("bnb_nf4", "0.31.0", (7, 0)),
        ("w8a8_int8", "0.31.0", (7, 5)),
    ],
)
def test_kernels_begin_at_the_capability_that_the_version_says(
    quantization: str, engine: str, least: tuple[int, int]
) -> None:
    assert legality.minimum_capability(quantization, engine) == least


def test_fp8_on_turing_before_marlin_is_refused_in_vllms_words() -> None:
    illegal = legality.check_quantization("fp8", TURING, "0.11.0")
    assert illegal
    assert illegal.would_say == (
        "The quantization method fp8 is not supported for the current GPU. Minimum capability: 80. Current "
        "capability: 75."
    )
    assert "awq" in illegal.nearest and "mxfp4" not in illegal.nearest
    assert legality.check_quantization("fp8", TURING, "0.31.0") is None


def test_every_nearest_quantization_is_itself_legal() -> None:
    for card in (TURING, (7, 0), (6, 1), AMPERE):
        for name in SCHEMES:
            for engine in ("0.6.3", "0.11.0", "0.31.0"):
                if illegal := legality.check_quantization(name, card, engine):
                    for other in illegal.nearest.split(" in ", 1)[1].split(", "):
                        assert legality.check_quantization(other, card, engine) is None


def test_every_scheme_has_a_rule_that_holds_for_every_version_and_no_rule_is_left_over() -> None:
    rules = table().quantization
    assert {found.method for found in SCHEMES.values()} == set(rules)
    assert all("0.0" in [row.since for row in rule.minimum] for rule in rules.values())


@pytest.mark.parametrize(
    ("card", "kv", "nearest"),
    [(TURING, "fp8", "auto"), (TURING, "fp8_e5m2", "auto"), (AMPERE, "fp8", "fp8_e5m2")],
)
def test_an_fp8_kv_cache_below_ada_is_refused_with_what_runs(card: tuple[int, int], kv: KvDtype, nearest: str) -> None:
    illegal = legality.check_kv_dtype(kv, card, "0.31.0")
    assert illegal and illegal.nearest == f"kvCacheDtype: {nearest}"


def test_an_fp8_kv_cache_runs_on_ada_and_newer() -> None:
    assert not any(legality.check_kv_dtype("fp8", card, "0.31.0") for card in (ADA, HOPPER, BLACKWELL))


def test_an_fp8_checkpoint_on_ampere_cannot_have_an_e5m2_cache_and_is_sent_to_auto() -> None:
    assert legality.check_kv_dtype("fp8_e5m2", AMPERE, "0.31.0", quantization="fp8")
    illegal = legality.check_kv_dtype("fp8", AMPERE, "0.31.0", quantization="fp8")
    assert illegal and illegal.nearest == "kvCacheDtype: auto"


@pytest.mark.parametrize(
    ("card", "engine", "backend"),
    [
        (TURING, "0.8.5", "XFORMERS"),
        (TURING, "0.11.0", "FLEX_ATTENTION"),
        (TURING, "0.20.0", "FLASHINFER"),
        (TURING, "0.28.0", "TRITON_ATTN"),
        (AMPERE, "0.6.3", "FLASH_ATTN"),
        (ADA, "0.31.0", "FLASH_ATTN"),
        ((10, 0), "0.31.0", "FLASHINFER"),
        (BLACKWELL, "0.31.0", "FLASH_ATTN"),
    ],
)
def test_the_attention_backend_follows_card_and_version(card: tuple[int, int], engine: str, backend: str) -> None:
    found = legality.attention_backend(card, engine)
    assert found and found.backend == backend


def test_pascal_has_no_attention_backend() -> None:
    illegal = legality.check_attention((6, 1), "0.31.0")
    assert illegal and "no kernel image" in illegal.would_say


def test_code_of_a_repository_runs_only_where_the_file_says_so() -> None:
    illegal = legality.check_remote_code("acme/model", needed=True, trusted=False)
    assert illegal and "contains custom code which must be executed" in illegal.would_say
    assert legality.check_remote_code("acme/model", needed=True, trusted=True) is None
    assert legality.check_remote_code("acme/model", needed=False, trusted=False) is None


def test_engines_that_charge_their_neighbours_may_not_share_a_card() -> None:
    assert legality.check_sharing("0.8.5") and not legality.check_sharing("0.9.1")
    assert legality.has_kv_bytes("0.10.2") and not legality.has_kv_bytes("0.10.1.1")


def test_a_version_with_a_suffix_compares_by_its_numbers() -> None:
    assert parse("0.31.0rc1") == parse("0.31.0+cu129") == parse("v0.31") == (0, 31, 0)
    assert parse("0.9") < parse("0.10.2")
    with pytest.raises(ValueError, match="newest"):
        parse("newest")


def test_awq_computes_in_float16_and_a_bfloat16_checkpoint_falls_back_on_turing() -> None:
    assert legality.dtype_for(checkpoint="bfloat16", quantization="awq", float16_works=True, card=ADA)[0] == "float16"
    assert legality.dtype_for(checkpoint="bfloat16", quantization=None, float16_works=True, card=TURING)[0] == "float16"
    assert (
        legality.dtype_for(checkpoint="bfloat16", quantization=None, float16_works=False, card=TURING)[0] == "bfloat16"
    )
    assert (
        legality.dtype_for(checkpoint="bfloat16", quantization="mxfp4", float16_works=True, card=TURING)[0]
        == "bfloat16"
    )
    assert legality.dtype_for(checkpoint="bfloat16", quantization=None, float16_works=True, card=ADA)[0] == "bfloat16"
