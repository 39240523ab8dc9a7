"""Words that stand in the state of deployed stacks. They may be added to; a changed one would replace or lose
resources.
"""

from components import types
from host.__main__ import VERBS
from host.drivers import DRIVERS as EFFECTS
from probes.__main__ import PROBES
from stacks import names

TOKENS = {
    "lab:index:LabPlatform",
    "lab:cluster:Cluster",
    "lab:gpu:NvidiaRuntime",
    "lab:gpu:DevicePlugin",
    "lab:gpu:AllocatableGpus",
    "lab:serving:ModelsNamespace",
    "lab:serving:ModelCache",
    "lab:serving:Model",
    "lab:serving:ModelClaim",
    "lab:gateway:Gateway",
    "lab:gateway:EnvoyGateway",
    "lab:gateway:AIBrixGateway",
    "lab:checks:InferenceCheck",
    "lab:docker:Containers",
}


def test_no_type_token_was_changed_or_given_twice() -> None:
    tokens = [value for name, value in vars(types).items() if name.isupper()]
    assert len(tokens) == len(set(tokens))
    assert set(tokens) >= TOKENS


def test_every_entry_of_the_state_still_works() -> None:
    assert set(EFFECTS) >= {"embedded", "minikube", "docker", "existing", "nvidia", "models"}
    assert set(VERBS) >= {"ensure", "status", "destroy"}
    assert set(PROBES) >= {"inference_check", "allocatable_gpus"}


def test_names_made_from_a_stack_are_what_they_were() -> None:
    assert names.kubeconfig("box") == "~/.local/state/local-ai-lab/stacks/box/kubeconfig"
    assert names.cluster_identifier("box") == "local-ai-lab-box"
    assert names.cluster_name("box") == names.namespace("box") == "local-ai-lab-box"
    assert names.cluster_name("Box.1") == "local-ai-lab-box-1-b52c1459"
    assert names.model_cache("/var/lib/local-ai-lab/models") == "model-cache-bacfc48e"
    assert names.model_selector("m") == {"app.kubernetes.io/name": "m", "app.kubernetes.io/part-of": "local-ai-lab"}
