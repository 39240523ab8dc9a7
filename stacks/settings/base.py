"""What every part of a stack file is made of: the frozen base model, and texts of one form."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


def text_of(pattern: str, form: str, *, max_length: int | None = None) -> Any:
    """A text of one form; `form` ends the sentence «another ...» in our own messages and in editors."""
    said = form if max_length is None else f"{form}, at most {max_length} characters"
    return Field(pattern=pattern, max_length=max_length, json_schema_extra={"patternErrorMessage": said})


DnsLabel = Annotated[
    str,
    text_of(
        r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        "name of lower-case letters, digits and hyphens, a letter first and no hyphen last",
        max_length=40,
    ),
]
"""A lower-case DNS label of at most 40 characters, so that every Kubernetes name made from it stays under 63."""

CatalogId = Annotated[str, text_of(r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", "name from the catalogue", max_length=80)]
HostPath = Annotated[
    str,
    text_of(
        r"^(~|)/[A-Za-z0-9._/-]+$",
        "path that begins with / or ~/ and has letters, digits and . _ - only",
        max_length=200,
    ),
]


ObjectName = Annotated[
    str,
    text_of(r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", "name of lower-case letters, digits, hyphens and dots", max_length=63),
]
"""A name of an object of Kubernetes that somebody else made: a DNS subdomain."""

LabelKey = Annotated[
    str,
    text_of(
        r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$",
        "key of a label or a taint, such as nvidia.com/gpu.product",
        max_length=200,
    ),
]
LabelValue = Annotated[
    str,
    text_of(r"^([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$", "value of a label, such as NVIDIA-A100-SXM4-40GB"),
]
"""Keys and values of labels as Kubernetes' syntax has them: kubernetes.io/docs, labels and selectors."""


class Intent(BaseModel):
    """The base of everything in a stack file: camelCase names, frozen, strict types, unknown keys refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )
