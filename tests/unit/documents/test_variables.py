"""What a document may set is a list, and whatever is not on it is refused by name and rule."""

from __future__ import annotations

import re
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tests.support.manifests import encoded, whole

from comfykiln.documents.manifest import parse as manifest
from comfykiln.documents.variables import HARMLESS, check_variable
from comfykiln.parsing.faults import Faults, FaultyDocumentError

PAGE = Path(__file__).parents[3] / "docs" / "manifest.md"
ALLOWED = [name for names in HARMLESS.values() for name in names.split()]
WORDS = """
    PATH LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES GCONV_PATH LOCPATH NLSPATH
    PROMPT_COMMAND PS0 PS1 PS2 PS4 BASH_ENV ENV BASHOPTS SHELLOPTS IFS CDPATH GLOBIGNORE HOME
    SHELL HISTFILE TERMINFO TERMCAP INPUTRC FPATH ZDOTDIR POSIXLY_CORRECT BASH_FUNC_tar%% TMPDIR
    TAR_OPTIONS GZIP XZ_DEFAULTS ZSTD_CLEVEL UNZIP LESSOPEN LESSCLOSE PAGER MANPAGER EDITOR VISUAL
    BROWSER GREP_OPTIONS XDG_CONFIG_HOME XDG_CONFIG_DIRS XDG_DATA_DIRS XDG_CACHE_HOME XDG_BIN_HOME
    VIRTUAL_ENV CONDA_PREFIX CONDA_EXE PYENV_ROOT UV_INDEX UV_PYTHON PIP_INDEX_URL PIP_CONFIG_FILE
    POETRY_HOME CC CXX CPP LD AR CFLAGS CXXFLAGS LDFLAGS CPATH LIBRARY_PATH PKG_CONFIG_PATH
    CMAKE_PREFIX_PATH CMAKE_GENERATOR CMAKE_TOOLCHAIN_FILE MAKEFLAGS MAKEFILES MAKE NINJA_STATUS
    RUSTC_WRAPPER RUSTC RUSTFLAGS CARGO_HOME CARGO_BUILD_RUSTC GOFLAGS NVCC_PREPEND_FLAGS
    NVCC_APPEND_FLAGS CUDA_HOME CUDA_PATH CUDACXX CUDAHOSTCXX ROCM_PATH HIP_PATH HIPCC MAX_JOBS
    DISTUTILS_USE_SDK SETUPTOOLS_USE_DISTUTILS PERL5OPT PERL5LIB RUBYOPT NODE_OPTIONS
    JAVA_TOOL_OPTIONS GIT_SSH_COMMAND GIT_ASKPASS GIT_CONFIG_GLOBAL GIT_DIR GIT_EXEC_PATH
    SSH_ASKPASS SSH_AUTH_SOCK PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONBREAKPOINT PYTHONWARNINGS
    PYTHONINSPECT PYTHONUSERBASE PYTHONPYCACHEPREFIX PYTHONCASEOK PYTHONEXECUTABLE
    PYTHONUNBUFFERED HF_ENDPOINT HF_HOME HF_TOKEN HF_HUB_CACHE HUGGINGFACE_HUB_CACHE
    TRANSFORMERS_CACHE AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_CONFIG_FILE AWS_PROFILE
    COMFY_S3_ENDPOINT_URL COMFY_S3_ACCESS_KEY_ID COMFYKILN_PROFILES COMFYKILN_STORE
    CIVITAI_ENDPOINT CIVITAI_TOKEN HTTP_PROXY https_proxy ALL_PROXY NO_PROXY FTP_PROXY RSYNC_PROXY
    SSLKEYLOGFILE OPENSSL_CONF OPENSSL_MODULES OPENSSL_ENGINES SSL_CERT_FILE SSL_CERT_DIR
    CURL_CA_BUNDLE CURL_HOME REQUESTS_CA_BUNDLE NETRC KRB5_CONFIG GNUPGHOME RES_OPTIONS
    HOSTALIASES RESOLV_HOST_CONF TORCH_HOME TORCH_EXTENSIONS_DIR TORCH_LOGS TORCH_LOGS_OUT
    TORCH_TRACE TORCH_DEVICE_BACKEND_AUTOLOAD TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD
    TORCHINDUCTOR_CACHE_DIR TORCHINDUCTOR_CXX TORCHINDUCTOR_CUTLASS_DIR TORCH_COMPILE_DEBUG_DIR
    PYTORCH_NVCC PYTORCH_KERNEL_CACHE_PATH PYTORCH_TUNABLEOP_FILENAME PYTORCH_BUILD_VERSION
    TRITON_PTXAS_PATH TRITON_LIBCUDA_PATH TRITON_CACHE_DIR TRITON_HOME TRITON_CACHE_MANAGER
    TRITON_OVERRIDE_DIR CUDA_INJECTION64_PATH CUDA_CACHE_PATH NCCL_NET_PLUGIN NCCL_CONF_FILE
    NCCL_DEBUG_FILE NCCL_TUNER_PLUGIN NVIDIA_DRIVER_CAPABILITIES NVIDIA_VISIBLE_DEVICES
    HSA_TOOLS_LIB ROCP_TOOL_LIB ROCPROFILER_METRICS_PATH VK_ICD_FILENAMES OCL_ICD_VENDORS
    LIBVA_DRIVERS_PATH QT_PLUGIN_PATH GST_PLUGIN_PATH GTK_MODULES MIOPEN_USER_DB_PATH
    OMP_TOOL_LIBRARIES KMP_CPUINFO_FILE MKL_VERBOSE_OUTPUT_FILE NUMBA_CACHE_DIR CLI_ARGS
    COMFY_PORT KILN_SERVER_ARGS USER LOGNAME DOCKER_HOST DOCKER_CONFIG BUILDKIT_HOST KUBECONFIG
    MPLCONFIGDIR MPLBACKEND JUPYTER_PATH IPYTHONDIR COVERAGE_PROCESS_START LANGUAGE TZ TZDIR
    """
REFUSED = WORDS.split()


def faults_for(name: str, value: str = "1") -> list[tuple[str, str, str]]:
    faults = Faults("m.json")
    check_variable(name, value, "$.x", faults)
    return [(fault.path, fault.rule, fault.problem) for fault in faults.records]


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_run_load_or_lead_elsewhere_is_refused_by_name(name: str) -> None:
    problem = f"{name!r} is none of the variables that a document may set"
    assert faults_for(name) == [("$.x", "manifest.environment", problem)]
    assert faults_for(name, "") == faults_for(name)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_chooses_among_what_is_there_is_let_in(name: str) -> None:
    assert faults_for(name) == []
    assert faults_for(name, "max_split_size_mb:128,expandable_segments:True\t$HOME 'x'") == []


@pytest.mark.parametrize("name", ALLOWED)
def test_only_the_very_name_is_let_in(name: str) -> None:
    other_case = name.lower() if name.upper() == name else name.upper()
    for spelt in (
        other_case,
        f"{name}_PATH",
        f" {name}",
        f"{name}\n",
        f"X{name}",
        f"{name[:-1]}\uff21",
    ):
        assert [rule for _, rule, _ in faults_for(spelt)] == ["manifest.environment"]


def test_no_name_on_the_list_stands_for_a_place_or_a_program() -> None:
    parts = {part for name in ALLOWED for part in name.upper().split("_")}
    telling = {
        "PATH",
        "HOME",
        "DIR",
        "FILE",
        "FILENAME",
        "LIB",
        "PLUGIN",
        "URL",
        "ENDPOINT",
        "CACHE",
    }
    telling |= {
        "PROXY",
        "TOKEN",
        "KEY",
        "CC",
        "CXX",
        "NVCC",
        "WRAPPER",
        "COMMAND",
        "OPTIONS",
        "ARGS",
    }
    assert parts & telling == {"CACHE", "LIB"}
    switches = [name for name in ALLOWED if {"CACHE", "LIB"} & set(name.split("_"))]
    assert sorted(switches) == [
        "KMP_DUPLICATE_LIB_OK",
        "SYCL_CACHE_PERSISTENT",
        "TORCHINDUCTOR_FX_GRAPH_CACHE",
        "TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT",
    ]
    assert len(ALLOWED) == len(set(ALLOWED))


@given(st.text(max_size=30) | st.from_regex(r"[A-Z][A-Z_]{0,20}", fullmatch=True))
def test_whatever_is_not_on_the_list_is_refused(name: str) -> None:
    assert bool(faults_for(name)) == (name not in ALLOWED)


@pytest.mark.parametrize("separator", "\n\r\x0b\x0c\x00\x1b\x1c\x1d\x1e\x7f\x85\u2028\u2029\u202e")
def test_a_value_is_one_line(separator: str) -> None:
    problem = "the value of LANG holds a newline or control character"
    for value in (separator, f"C{separator}", f"C{separator}id"):
        assert faults_for("LANG", value) == [("$.x", "manifest.environment", problem)]


def test_a_manifest_tells_the_place_of_each() -> None:
    document = whole()
    document["platform_overrides"]["linux-aarch64"]["environment"] = {"PS1": "x", "LANG": "C"}
    with pytest.raises(FaultyDocumentError) as caught:
        manifest.parse(encoded(document), "m.json")
    (fault,) = caught.value.records
    assert str(fault) == (
        "$.platform_overrides.linux-aarch64.environment.PS1: 'PS1' is none of the variables that a "
        "document may set; expected devices, memory, threads, kernels: the list is in "
        "docs/manifest.md; remove it; who runs the server can set it there [manifest.environment]"
    )


def test_the_page_has_the_same_list() -> None:
    section = PAGE.read_text("utf-8").partition("## Variables\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([a-z ]+) \| (`.+`) \|$", section, re.MULTILINE))
    assert {key: sorted(re.findall(r"`(\w+)`", row)) for key, row in rows.items()} == {
        key: sorted(names.split()) for key, names in HARMLESS.items()
    }
