"""What every serving engine's settings have, whichever engine it is."""

from __future__ import annotations

from typing import ClassVar

from stacks.plan.base import Part


class EngineSettings(Part):
    """The base of one engine's slice. `container` is the container's name, `api_key_variable` the environment variable
    that takes the endpoint's key, `health_path` what answers with 200 once the engine serves.
    """

    container: ClassVar[str]
    api_key_variable: ClassVar[str]
    health_path: ClassVar[str]

    max_model_len: int
    max_num_seqs: int

    def arguments(
        self, *, model: str, served_model_names: tuple[str, ...], port: int, shutdown_timeout: int
    ) -> tuple[str, ...]:
        """Arguments after the image's entrypoint: `model` is a folder of the container, the first name is the one that
        answers carry, the timeout is in seconds.
        """
        raise NotImplementedError
