"""Sentences that vLLM, CUDA, PyTorch and the Hugging Face libraries end with.

Sources: the file of vLLM 0.32.0 that holds the sentence, or a public thread.
"""

from __future__ import annotations

from probes.diagnosis.signature import Signature, signature

ENGINE: tuple[Signature, ...] = (
    signature(
        "driver-803", r"[Ee]rror 803|system has unsupported display driver / cuda driver combination",
        "the image's own CUDA compat libraries hide the host's driver",
        "./lab up {stack} sets LD_LIBRARY_PATH; if a stack file's environment changes it, remove that line",
        "vllm#33447, gpustack#4678",
    ),
    signature(
        "driver-too-old", r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "the host's NVIDIA driver is older than the image's CUDA needs",
        "install a newer driver, then write its version as machine.nvidiaDriver; `nvidia-smi` prints it",
        "torch/cuda/__init__.py",
    ),
    signature(
        "no-kernel-image", r"no kernel image is available for execution on the device",
        "the image was not built for a card this old",
        "use a card that the image supports; lab plan {stack} names the least compute capability",
        "CUDA error 209",
    ),
    signature(
        "no-platform", r"UnspecifiedPlatform|Failed to infer device type|No platform detected",
        "the engine sees no GPU",
        "the pod must ask for nvidia.com/gpu and get the NVIDIA runtime: kubectl describe node shows what is "
        "allocatable",
        "vllm#23661; config/device.py",
    ),
    signature(
        "no-cuda-library", r"libcuda\.so\.1: cannot open shared object file|Found no NVIDIA driver on your system",
        "the container got no NVIDIA driver: it was started without the NVIDIA runtime",
        "./lab up {stack} registers the runtime; docker info | grep -i runtimes shows it",
        "torch/cuda/__init__.py",
    ),
    signature(
        "nvml", r"Failed to initialize NVML: (?P<said>[A-Z][A-Za-z ]+)",
        "the container lost its GPU, or never had one: NVML says {said}",
        "restart the pod; if it comes back after `systemctl daemon-reload`, the /dev/char links are missing",
        "gpu-operator#485, nvidia-docker#1730",
    ),
    signature(
        "device-busy", r"CUDA-capable device\(s\) is/are busy or unavailable",
        "another process holds the card exclusively, or an MPS client cannot reach its daemon",
        "nvidia-smi shows who holds it; stop that, or share cards by time-slicing",
        "production-stack#504",
    ),
    signature(
        "kv-too-small",
        r"max seq len \((?P<length>[0-9]+)\),? \(?(?P<need>[0-9.]+) GiB KV cache is needed, which is larger than the "
        r"available KV cache memory \((?P<have>-?[0-9.]+) GiB\)"
        r"(?:.*?estimated maximum model length is (?P<longest>[0-9]+))?",
        "one request of {length} tokens needs {need} GiB of KV cache, and {have} GiB are left",
        "lower contextTokens (the engine's own estimate: {longest}); ./lab learn {stack} lets the next plan know "
        "this machine",
        "v1/core/kv_cache_utils.py",
    ),
    signature(
        "no-kv", r"No available memory for the cache blocks",
        "weights and the profiling run leave nothing for the KV cache",
        "lower maxNumBatchedTokens or concurrentRequests, or use a smaller model: ./lab fit --gpu CARD lists those "
        "that fit",
        "v1/core/kv_cache_utils.py",
    ),
    signature(
        "free-memory",
        r"Free memory on device[^(]*\((?P<free>[0-9.]+)/(?P<total>[0-9.]+) GiB\) on startup is less than desired GPU "
        r"memory utilization \((?P<share>[0-9.]+), (?P<wanted>[0-9.]+) GiB\)",
        "{free} of {total} GiB are free on the card, and the engine needs {wanted} GiB at start",
        "nvidia-smi shows who holds the rest; stop that, or state a desktop: machine.display: true",
        "v1/worker/utils.py",
    ),
    signature(
        "mamba-blocks",
        r"max_num_seqs \((?P<asked>[0-9]+)\) exceeds available Mamba cache blocks \((?P<have>[0-9]+)\)",
        "{asked} requests may run at once, and the cache has room for the recurrent states of {have}",
        "write concurrentRequests: {have}, or less",
        "config/compilation.py",
    ),
    signature(
        "sampler-warmup", r"CUDA out of memory occurred when warming up sampler with (?P<requests>[0-9]+)",
        "the warm-up of the sampler with {requests} requests needs more memory than the KV cache leaves",
        "lower concurrentRequests; the cost grows with requests x vocabulary",
        "v1/worker/gpu_model_runner.py",
    ),
    signature(
        "uva", r"UVA is not available",
        "pinned memory is off, as vLLM has it under WSL2",
        "./lab up {stack} sets VLLM_WSL2_ENABLE_PIN_MEMORY=1 where machine.platform is wsl2",
        "vllm#54652; v1/worker/gpu/buffer_utils.py",
    ),
    signature(
        "cuda-oom",
        r"(?:OutOfMemoryError: )?CUDA out of memory\. Tried to allocate (?P<wanted>[0-9.]+ [GM]iB)",
        "the card ran out of memory: {wanted} more were wanted",
        "./lab plan {stack} shows who has how much; ./lab learn {stack} lays the engine's figures beside it",
        "torch/cuda/memory.py",
    ),
    signature(
        "gated", r"Access to model (?P<model>\S+) is restricted|Cannot access gated repo|GatedRepoError",
        "the model is gated, and the token in use has no access to it",
        "accept its licence on the Hub with the token's account, then: pulumi config set --secret huggingFaceToken "
        "-s {stack}",
        "huggingface_hub/errors.py",
    ),
    signature(
        "unauthorized", r"401 Client Error|Invalid credentials in Authorization header",
        "the Hub refuses the token",
        "make a new read token, then: pulumi config set --secret huggingFaceToken -s {stack}",
        "huggingface_hub/errors.py",
    ),
    signature(
        "not-found", r"404 Client Error|RepositoryNotFoundError|RevisionNotFoundError",
        "the model's repository or revision does not exist, or is private",
        "check repository and revision of the catalogue entry: ./lab models",
        "huggingface_hub/errors.py",
    ),
    signature(
        "not-in-cache",
        r"LocalEntryNotFoundError|outgoing traffic has been disabled|couldn't connect to .https://huggingface\.co.",
        "a file of the model is not in the cache, and the engine looks nothing up",
        "./lab up {stack} fetches what is missing",
        "huggingface_hub/errors.py",
    ),
    signature(
        "no-weights", r"Cannot find any model weights with `(?P<folder>[^`]+)`",
        "there are no weights in {folder}",
        "./lab up {stack} fetches them again",
        "model_executor/model_loader/default_loader.py",
    ),
    signature(
        "damaged-weights", r"SafetensorError|Error while deserializing header|MetadataIncompleteBuffer",
        "a file of the weights is damaged or cut short",
        "remove the model's folder in the cache, then: ./lab up {stack}",
        "safetensors",
    ),
    signature(
        "quantization-card",
        r"quantization method (?P<method>\S+) is not supported for the current GPU\. Minimum capability: "
        r"(?P<least>[0-9]+)\. Current capability: (?P<have>[0-9]+)",
        "quantization {method} needs compute capability {least}, and the card has {have}",
        "choose another quantization of the model: ./lab models",
        "config/vllm.py",
    ),
    signature(
        "quantization",
        r"Unknown quantization method|Quantization method specified in the model config \([^)]*\) does not match",
        "the checkpoint is quantized in another way than the engine was told",
        "use the catalogue's entry of the repository, or: ./lab model add OWNER/NAME",
        "config/model.py",
    ),
    signature(
        "bfloat16", r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0",
        "the card has no bfloat16",
        "the plan picks float16 for such a card: check machine.gpu in Pulumi.{stack}.yaml",
        "platforms/cuda.py",
    ),
    signature(
        "architecture",
        r"Model architectures \[(?P<names>[^\]]*)\] are not supported|does not recognize this architecture",
        "this version of the engine does not know the model's architecture",
        "use a model whose architecture it knows, or a newer image",
        "model_executor/models/registry.py",
    ),
    signature(
        "remote-code", r"trust_remote_code=True",
        "the model's repository wants to run code of its own",
        "read that code, pin the revision, and write trustRemoteCode: true",
        "transformers_utils/config.py",
    ),
    signature(
        "context-too-long",
        r"max_model_len \((?P<asked>[0-9]+)\) is greater than the derived max_model_len \([^=]*=?(?P<most>[0-9]+)",
        "{asked} tokens were asked for, and the model was trained for {most}",
        "write contextTokens: {most}, or less",
        "config/model.py",
    ),
    signature(
        "shared-memory", r"Bus error|No space left on device: '?/dev/shm|unable to open shared memory object",
        "its shared memory is too small",
        "./lab up {stack} sizes it; remove what changed the pod by hand",
        "torch.multiprocessing",
    ),
    signature(
        "disk-full", r"No space left on device",
        "the disk, or the pod's scratch space, is full",
        "free some on the machine, then: ./lab up {stack}",
        "errno 28",
    ),
    signature(
        "read-only", r"Read-only file system|PermissionError: \[Errno 13\] Permission denied: '(?P<path>[^']+)'",
        "the engine wants to write outside /tmp",
        "point that path below /tmp in the model's environment",
        "errno 30, errno 13; vllm#9118",
    ),
    signature(
        "nccl", r"NCCL error|ncclSystemError|ncclUnhandledCudaError",
        "the cards of the engine cannot talk to each other",
        "try NCCL_P2P_DISABLE: '1' in the model's environment; NCCL_DEBUG: INFO says more",
        "torch.distributed",
    ),
    signature(
        "port", r"[Aa]ddress already in use",
        "the engine's port is taken inside its container",
        "remove a port from the model's environment",
        "errno 98",
    ),
    signature(
        "exec-format", r"exec format error",
        "the image is for another processor architecture",
        "use an image for this machine's processor",
        "errno 8",
    ),
)  # fmt: skip
"""What an engine's log may end with."""
