"""Container images that the lab builds on the machine, for clusters that reach no registry."""

from host.artifacts.images.build import ensure_image, still_needed_gib
from host.artifacts.images.recipe import recipe_reference

__all__ = ["ensure_image", "recipe_reference", "still_needed_gib"]
