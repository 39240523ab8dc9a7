"""What `lab doctor` looks at beside NVIDIA's layers (probes/nvidia): the machine, Docker, the cluster. One function for
each layer; every one looks and changes nothing.
"""

from probes.doctor.run import CLUSTER, MACHINE, examine
from probes.doctor.subject import Subject

__all__ = ["CLUSTER", "MACHINE", "Subject", "examine"]
