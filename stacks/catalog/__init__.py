"""The facts that plans rest on: hardware, models, images and compatibility, each number with its source."""

from stacks.catalog.loader import Catalog, load
from stacks.catalog.schema import Fact, Gpu, Image, Model

__all__ = ["Catalog", "Fact", "Gpu", "Image", "Model", "load"]
