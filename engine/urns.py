"""URNs and provider references, by Pulumi's rules."""

from __future__ import annotations

from typing import Final

STACK_TYPE: Final = "pulumi:pulumi:Stack"
PROVIDER_PREFIX: Final = "pulumi:providers:"


def make(stack: str, project: str, parent: str, resource_type: str, name: str) -> str:
    """The URN of a resource; the stack's own type never stands in the URNs of its children."""
    parent_type = qualified_type(parent) if parent else ""
    prefix = "" if parent_type in ("", STACK_TYPE) else f"{parent_type}$"
    return f"urn:pulumi:{stack}::{project}::{prefix}{resource_type}::{name}"


def qualified_type(urn: str) -> str:
    """The types of a resource and of its parents, joined by `$`."""
    return urn.split("::")[2]


def name_of(urn: str) -> str:
    """The name of a resource."""
    return urn.split("::", 3)[3]


def is_provider(resource_type: str) -> bool:
    """Whether resources of this type are providers."""
    return resource_type.startswith(PROVIDER_PREFIX)


def is_default_provider(urn: str) -> bool:
    """Whether the engine made this provider itself; a preview does not list such."""
    types = qualified_type(urn)
    return is_provider(types) and (name_of(urn) == "default" or name_of(urn).startswith("default_"))


def package_of(resource_type: str) -> str:
    """The package whose plugin serves a type; for a provider type the package that it configures."""
    if is_provider(resource_type):
        return resource_type.removeprefix(PROVIDER_PREFIX)
    return resource_type.split(":", 1)[0]


def reference_urn(reference: str) -> str:
    """The URN in a provider reference (`<urn>::<id>`)."""
    return reference.rsplit("::", 1)[0]
