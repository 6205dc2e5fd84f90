"""The environment variables that a document may set: a list, for what is not known may do anything.

A document's variables reach the shell of whoever pastes its commands, every program in these, and
the server of an image. Let in is what chooses among what is installed already: devices, memory,
threads, kernels, what is printed. No name on the list stands for a file, a program, a library, a
host or an account.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from comfykiln.parsing.values import CONTROLS, shown

if TYPE_CHECKING:
    from comfykiln.parsing.faults import Faults

RULE = "manifest.environment"
HARMLESS = {
    "devices": """
        ASCEND_RT_VISIBLE_DEVICES CUDA_DEVICE_ORDER CUDA_VISIBLE_DEVICES GPU_DEVICE_ORDINAL
        HIP_VISIBLE_DEVICES HSA_OVERRIDE_GFX_VERSION ONEAPI_DEVICE_SELECTOR ROCR_VISIBLE_DEVICES
        ZE_AFFINITY_MASK ZE_FLAT_DEVICE_HIERARCHY""",
    "memory": """
        GPU_MAX_ALLOC_PERCENT GPU_MAX_HEAP_SIZE GPU_SINGLE_ALLOC_PERCENT MALLOC_ARENA_MAX
        MALLOC_MMAP_THRESHOLD_ MALLOC_TRIM_THRESHOLD_ PYTORCH_ALLOC_CONF PYTORCH_CUDA_ALLOC_CONF
        PYTORCH_HIP_ALLOC_CONF PYTORCH_MPS_HIGH_WATERMARK_RATIO PYTORCH_MPS_LOW_WATERMARK_RATIO
        PYTORCH_NO_CUDA_MEMORY_CACHING TF_FORCE_GPU_ALLOW_GROWTH
        UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS""",
    "threads": """
        BLIS_NUM_THREADS KMP_AFFINITY KMP_BLOCKTIME KMP_DUPLICATE_LIB_OK MKL_DYNAMIC
        MKL_NUM_THREADS MKL_THREADING_LAYER NUMBA_NUM_THREADS NUMEXPR_MAX_THREADS
        NUMEXPR_NUM_THREADS OMP_DYNAMIC OMP_MAX_ACTIVE_LEVELS OMP_NUM_THREADS OMP_PLACES
        OMP_PROC_BIND OMP_SCHEDULE OMP_STACKSIZE OMP_THREAD_LIMIT OMP_WAIT_POLICY
        OPENBLAS_NUM_THREADS RAYON_NUM_THREADS TOKENIZERS_PARALLELISM TORCHINDUCTOR_COMPILE_THREADS
        VECLIB_MAXIMUM_THREADS""",
    "kernels and precision": """
        CUBLASLT_WORKSPACE_SIZE CUBLAS_WORKSPACE_CONFIG CUDA_DEVICE_MAX_CONNECTIONS
        CUDA_LAUNCH_BLOCKING CUDA_MODULE_LOADING DNNL_DEFAULT_FPMATH_MODE
        FLASH_ATTENTION_TRITON_AMD_AUTOTUNE FLASH_ATTENTION_TRITON_AMD_ENABLE GPU_MAX_HW_QUEUES
        HIP_FORCE_DEV_KERNARG HIP_LAUNCH_BLOCKING HSA_ENABLE_SDMA HSA_XNACK MIOPEN_FIND_ENFORCE
        MIOPEN_FIND_MODE MKL_ENABLE_INSTRUCTIONS NVIDIA_TF32_OVERRIDE ONEDNN_DEFAULT_FPMATH_MODE
        ONEDNN_MAX_CPU_ISA OPENBLAS_CORETYPE PYTORCH_ENABLE_MPS_FALLBACK PYTORCH_JIT
        PYTORCH_MPS_FAST_MATH PYTORCH_MPS_PREFER_METAL PYTORCH_TUNABLEOP_ENABLED
        PYTORCH_TUNABLEOP_TUNING ROCBLAS_USE_HIPBLASLT SYCL_CACHE_PERSISTENT TF_ENABLE_ONEDNN_OPTS
        TORCHDYNAMO_DISABLE TORCHINDUCTOR_FREEZING TORCHINDUCTOR_FX_GRAPH_CACHE
        TORCHINDUCTOR_MAX_AUTOTUNE TORCH_ALLOW_TF32_CUBLAS_OVERRIDE TORCH_BLAS_PREFER_CUBLASLT
        TORCH_BLAS_PREFER_HIPBLASLT TORCH_COMPILE_DISABLE TORCH_CUDA_ARCH_LIST
        TORCH_CUDNN_V8_API_DISABLED TORCH_CUDNN_V8_API_ENABLED TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT
        TORCH_LINALG_PREFER_CUSOLVER TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL
        TORCH_ROCM_FA_PREFER_CK XFORMERS_FORCE_DISABLE_TRITON""",
    "several cards": """
        NCCL_DEBUG NCCL_IB_DISABLE NCCL_P2P_DISABLE NCCL_P2P_LEVEL NCCL_SHM_DISABLE""",
    "what is sent and printed": """
        AMD_LOG_LEVEL DISABLE_TELEMETRY DO_NOT_TRACK GLOG_minloglevel GRPC_VERBOSITY HF_HUB_OFFLINE
        HF_HUB_DISABLE_PROGRESS_BARS HF_HUB_DISABLE_SYMLINKS_WARNING HF_HUB_DISABLE_TELEMETRY
        HF_HUB_DISABLE_XET HF_HUB_DOWNLOAD_TIMEOUT HF_HUB_ENABLE_HF_TRANSFER HF_HUB_ETAG_TIMEOUT
        HF_XET_HIGH_PERFORMANCE LANG LC_ALL LC_CTYPE MIOPEN_ENABLE_LOGGING MIOPEN_LOG_LEVEL
        NO_ALBUMENTATIONS_UPDATE OPENCV_IO_ENABLE_OPENEXR OPENCV_IO_MAX_IMAGE_PIXELS
        OPENCV_LOG_LEVEL TF_CPP_MIN_LOG_LEVEL TORCH_CPP_LOG_LEVEL TORCH_SHOW_CPP_STACKTRACES
        TRANSFORMERS_OFFLINE TRANSFORMERS_VERBOSITY XFORMERS_MORE_DETAILS YOLO_VERBOSE""",
}
"""What may be set, by what it decides; docs/manifest.md has the same list."""

_ALLOWED = frozenset(name for names in HARMLESS.values() for name in names.split())
_CONTROL = re.compile(rf"(?!\t)[{CONTROLS}]")


def check_variable(name: str, value: Any, path: str, faults: Faults) -> None:
    """Check a variable that a stranger's document sets: its name is on the list, on one line."""
    if name not in _ALLOWED:
        problem = f"{shown(name)} is none of the variables that a document may set"
        expected = "devices, memory, threads, kernels: the list is in docs/manifest.md"
        remedy = "remove it; who runs the server can set it there"
    elif isinstance(value, str) and _CONTROL.search(value):
        problem = f"the value of {name} holds a newline or control character"
        expected, remedy = "one line", "write it on one line"
    else:
        return
    faults.add(path, RULE, problem, expected=expected, remedy=remedy)
