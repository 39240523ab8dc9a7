"""The closed registry of resource kinds that the embedded engine knows, each with its provider's preview behaviour."""

from __future__ import annotations

import re

from engine import urns
from engine.errors import UnsupportedError
from engine.kinds.base import Kind, Subject
from engine.kinds.command import Command
from engine.kinds.kubernetes import KubernetesObject
from engine.kinds.listed import Listed
from engine.kinds.provider import Provider

__all__ = ["Kind", "Subject", "find"]

_PACKAGES = ("command", "kubernetes")
_OBJECT = re.compile(r"kubernetes:[a-z0-9.-]+/v\d[a-z0-9]*:[A-Z]\w*")
_CONSTRUCTS = ("kubernetes:helm.sh/", "kubernetes:yaml", "kubernetes:kustomize")
_CUSTOM_LISTS = ("AllowList", "DenyList", "BlockList")  # custom resources may end so; Kubernetes' own lists may not be created


def find(resource_type: str) -> Kind:
    """The kind that plans resources of this type.

    Raises UnsupportedError for everything that only the Pulumi CLI with its plugins can do.
    """
    if urns.is_provider(resource_type) and urns.package_of(resource_type) in _PACKAGES:
        return Provider()
    if resource_type == "command:local:Command":
        return Command()
    is_object = _OBJECT.fullmatch(resource_type) is not None
    if resource_type == "kubernetes:helm.sh/v3:Release" or (is_object and resource_type.endswith("Patch")):
        return Listed()
    is_list = resource_type.endswith("List") and not resource_type.endswith(_CUSTOM_LISTS)
    if is_object and not is_list and not resource_type.startswith(_CONSTRUCTS):
        return KubernetesObject()
    if resource_type.startswith("pulumi-python:dynamic"):
        raise UnsupportedError(f"the dynamic provider resource {resource_type}")
    raise UnsupportedError(f"the resource type {resource_type}")
