"""Why a model does not serve: from its pod, its events and its node, or from its container in plain Docker, and from
the engine's own log. Looks at nothing.
"""

from probes.diagnosis.container import container_problem, docker_problem
from probes.diagnosis.engine_log import engine_problem
from probes.diagnosis.explain import explain
from probes.diagnosis.pod import pod_problem
from probes.diagnosis.problem import Problem

__all__ = ["Problem", "container_problem", "docker_problem", "engine_problem", "explain", "pod_problem"]
