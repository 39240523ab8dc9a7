"""NVIDIA layer by layer, from the driver to a pod: what is there, why it fails, and what to type. Looks at nothing
but its arguments: the machine and the cluster are handed in.
"""

from probes.nvidia.cluster import ClusterProbe, node
from probes.nvidia.host import HostProbe
from probes.nvidia.layer import Layer, Machine, Ran

__all__ = ["ClusterProbe", "HostProbe", "Layer", "Machine", "Ran", "node"]
