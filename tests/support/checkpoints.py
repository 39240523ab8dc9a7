"""Checkpoints for tests: folders with real safetensors headers, and a strict stand-in for the Hub's documented HTTP
API.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import httpx

COMMIT = "0123456789abcdef0123456789abcdef01234567"

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "hidden_size": 64,
    "intermediate_size": 128,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.0",
    "vocab_size": 1000,
}


def safetensors(tensors: dict[str, tuple[str, list[int]]]) -> bytes:
    """A safetensors file whose tensors are zeros: eight bytes of length, the JSON header, the data."""
    width = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U8": 1, "F8_E4M3": 1}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        size = width[dtype]
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)


def tiny_weights() -> bytes:
    """About a million 16-bit values."""
    return safetensors(
        {"model.embed_tokens.weight": ("BF16", [1000, 64]), "model.layers.0.mlp.up_proj.weight": ("BF16", [1000, 1000])}
    )


def folder(path: Path, files: dict[str, bytes | dict[str, Any] | str]) -> Path:
    """Writes the files; maps as JSON."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        data = (
            json.dumps(content).encode()
            if isinstance(content, dict)
            else content.encode()
            if isinstance(content, str)
            else content
        )
        (path / name).write_bytes(data)
    return path


class Hub(httpx.BaseTransport):
    """GET /api/models/{repo}/revision/{rev}?blobs=true and GET /{repo}/resolve/{rev}/{file}, as the Hub's API documents
    them.

    Anything else fails the test. `denied` and `denied_files` are (status, X-Error-Code) in the place of an answer.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        *,
        repository: str = "owner/model",
        card: dict[str, Any] | None = None,
        parameters: dict[str, int] | None = None,
        denied: tuple[int, str] | None = None,
        denied_files: tuple[int, str] | None = None,
        revisions: tuple[str, ...] = ("main", COMMIT),
        sizes: dict[str, int] | None = None,
    ) -> None:
        self.files, self.repository, self.card, self.parameters = files, repository, card or {}, parameters
        self.denied, self.denied_files, self.revisions, self.sizes = denied, denied_files, revisions, sizes or {}
        self.asked: list[str] = []
        self.tokens: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "GET", "looking changes nothing"
        path = request.url.path
        self.asked.append(path)
        self.tokens.append(request.headers.get("authorization"))
        api = f"/api/models/{self.repository}/revision/"
        if path.startswith("/api/models/"):
            assert request.url.params["blobs"] == "true"
            if self.denied:
                return httpx.Response(
                    self.denied[0], headers={"X-Error-Code": self.denied[1]}, json={"error": "denied"}
                )
            if not path.startswith(api):  # the Hub says 401 of what does not exist, lest private names be guessed
                return httpx.Response(
                    401, headers={"X-Error-Code": "RepoNotFound"}, json={"error": "Repository not found"}
                )
            if path.removeprefix(api) not in self.revisions:
                return httpx.Response(
                    404, headers={"X-Error-Code": "RevisionNotFound"}, json={"error": "Invalid rev id"}
                )
            return httpx.Response(200, json=self._info())
        prefix = f"/{self.repository}/resolve/{COMMIT}/"
        assert path.startswith(prefix), f"files are read at the commit that the API named, not {path}"
        if self.denied_files:
            return httpx.Response(self.denied_files[0], headers={"X-Error-Code": self.denied_files[1]}, text="denied")
        name = path.removeprefix(prefix)
        assert not name.endswith((".safetensors", ".bin")), "no weights are downloaded"
        if name not in self.files:
            return httpx.Response(404, headers={"X-Error-Code": "EntryNotFound"}, text="Entry not found")
        return httpx.Response(200, content=self.files[name])

    def _info(self) -> dict[str, Any]:
        siblings = [
            {"rfilename": n, "size": self.sizes.get(n, len(d)), "blobId": "0" * 40} for n, d in self.files.items()
        ]
        info: dict[str, Any] = {
            "id": self.repository,
            "sha": COMMIT,
            "private": False,
            "siblings": siblings,
            "cardData": self.card,
        }
        if self.parameters:
            info["safetensors"] = {"parameters": self.parameters, "total": sum(self.parameters.values())}
        return info
