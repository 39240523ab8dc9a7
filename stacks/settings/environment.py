"""What a stack file may put into an engine's environment: nothing secret, and nothing that the plan sets or checks."""

from __future__ import annotations

import re

_SET_KEY, _SET_TOKEN = (
    "remove the line and type: pulumi config set --secret " + key for key in ("apiKey", "huggingFaceToken")
)
_RESERVED_ENVIRONMENT = {
    "NVIDIA_VISIBLE_DEVICES": (
        "it takes every GPU behind the scheduler's back, and the device plugin sets it",
        "remove the line; machine.gpus says how many there are",
    ),
    "VLLM_API_KEY": ("a key in a stack file is a key in git", _SET_KEY),
    "HF_TOKEN": ("a token in a stack file is a token in git", _SET_TOKEN),
    "HUGGING_FACE_HUB_TOKEN": ("a token in a stack file is a token in git", _SET_TOKEN),
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": ("it lets any client load weights", "remove the line"),
    "VLLM_SERVER_DEV_MODE": ("it opens administrative endpoints without a key", "remove the line"),
}
_LONGEST_ENVIRONMENT = 4096
_SECRET_WORDS = re.compile(
    r"(^|_)(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRETS?|(API|ACCESS|PRIVATE|AUTH)_?KEY|CREDENTIALS?|AUTHORIZATION)(_|$)"
)
_SECRET_TEXT = re.compile(r"://[^/@\s]*:[^/@\s]*@|\b(sk-|hf_|ghp_|glpat-|xox[abp]-|AKIA)[A-Za-z0-9_-]{4,}|-----BEGIN ")
# What the plan sets and checks, or what would make its check worthless.
_PLANNED_ENVIRONMENT = re.compile(
    r"(HOME|USER|PATH|TMPDIR|(LD|NVIDIA|CUDA|PYTHON|HF|TRANSFORMERS|HUGGING_FACE)_\w+|PYTHON\w*|DO_NOT_TRACK"
    r"|VLLM_(CPU_\w+|NO_USAGE_STATS|WSL2_\w+|PORT|HOST_IP|USE_V2_MODEL_RUNNER|MEMORY_PROFILER_\w+)"
    r"|PYTORCH_(CUDA_)?ALLOC_CONF)"
)


def refused(key: str, text: str) -> tuple[str, str] | None:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,62}", key):
        return "is no environment name", "use capitals, digits and underscores, such as VLLM_LOGGING_LEVEL"
    if reason := _RESERVED_ENVIRONMENT.get(key):
        return f"cannot be set here: {reason[0]}", reason[1]
    if _PLANNED_ENVIRONMENT.fullmatch(key):
        return "is set or checked by the plan", "remove the line; lab plan shows what the plan sets"
    if _SECRET_WORDS.search(key) or _SECRET_TEXT.search(text):
        return (
            "looks like a secret, and a stack file is no place for one",
            "remove the line; the endpoint's own key: pulumi config set --secret apiKey",
        )
    if len(text) > _LONGEST_ENVIRONMENT:
        return f"is {len(text):,} characters long, and at most {_LONGEST_ENVIRONMENT:,} are allowed", "shorten it"
    if not text.isprintable() and not text.replace("\n", "").replace("\t", "").isprintable():
        return "holds a control character", "remove it; an engine's setting needs none"
    return None
