"""Runs with the hub's client on its path: `python hub_download.py REPOSITORY REVISION FOLDER [adapter]`. The exit code
says what went wrong.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "LICENSE*", "NOTICE*", "README*"]
_OF_AN_ADAPTER = ["adapter_config.json", "adapter_model.safetensors", "LICENSE*", "NOTICE*", "README*"]
_NOT_WANTED = ["original/*", "*.gguf", "onnx/*"]


def main(repository: str, revision: str, folder: str, kind: str = "model") -> int:
    """Downloads what an engine reads of a model, or of an adapter. Returns 0, 3 without a network, 4 without access, 5
    where there is no such thing.
    """
    hub: Any = importlib.import_module("huggingface_hub")
    errors: Any = importlib.import_module("huggingface_hub.errors")
    httpx: Any = importlib.import_module("httpx")
    try:
        hub.snapshot_download(
            repository,
            revision=revision,
            local_dir=folder,
            allow_patterns=_OF_AN_ADAPTER if kind == "adapter" else _WANTED,
            ignore_patterns=_NOT_WANTED,
        )
    except errors.GatedRepoError:
        return 4
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        # The hub answers 401 for what it does not want to show and for what is not there alike.
        response = getattr(error, "response", None)
        return 4 if response is not None and response.status_code == 401 else 5
    except errors.HfHubHTTPError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 4 if error.response.status_code in (401, 403) else 1
    except (
        httpx.TransportError,
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
        ConnectionError,
    ) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
