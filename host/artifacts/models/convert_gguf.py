"""Runs inside the image, never in the lab's own environment: `python convert_gguf.py MODEL.gguf FOLDER`.

Writes the checkpoint as bfloat16 safetensors with its tokenizer. Two things are ours and not the model's: the token
that begins a text, which the converted tokenizer would leave out and without which the model says nonsense, and a plain
chat template, which a base model lacks.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}\n"
    "{% elif message['role'] == 'user' %}User: {{ message['content'] }}\n"
    "{% else %}Assistant: {{ message['content'] }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def begin_with(tokenizer: dict[str, Any], token: str) -> dict[str, Any]:
    """A tokenizer.json that puts `token` before every text."""
    number = next(entry["id"] for entry in tokenizer["added_tokens"] if entry["content"] == token)
    single = [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*single, {"SpecialToken": {"id": token, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    special = {token: {"id": token, "ids": [number], "tokens": [token]}}
    return {
        **tokenizer,
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special},
    }


def main(source: Path, target: Path) -> None:
    """Converts; a failure leaves `target` incomplete, and the caller throws it away."""
    # The image's packages, absent where this file is only read.
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None:
        # The weights are dense by now; without this the library takes them for GGUF still and refuses to save.
        quantizer.remove_quantization_config(model)
    model.save_pretrained(target)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    tokenizer.save_pretrained(target)
    file, settings = target / "tokenizer.json", target / "tokenizer_config.json"
    token = tokenizer.bos_token
    file.write_text(
        json.dumps(begin_with(json.loads(file.read_text(encoding="utf-8")), token), ensure_ascii=False),
        encoding="utf-8",
    )
    described = {
        **json.loads(settings.read_text(encoding="utf-8")),
        "add_bos_token": True,
        "chat_template": CHAT_TEMPLATE,
    }
    settings.write_text(json.dumps(described, indent=2, ensure_ascii=False), encoding="utf-8")
    # Some versions put the template into a file of its own, which would win.
    (target / "chat_template.jinja").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
