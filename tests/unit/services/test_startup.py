from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

STARTUP = Path(__file__).parents[3] / "services" / "comfy" / "core" / "startup.py"


@pytest.fixture
def startup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("startup", STARTUP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arguments_are_port_target_cli_args_then_the_containers_own(startup: ModuleType) -> None:
    environ = {
        "COMFY_PORT": "9000",
        "KILN_SERVER_ARGS": "--cpu",
        "CLI_ARGS": "--preview-method 'auto x'",
    }
    assert startup.arguments(environ, ["--verbose"])[2:] == [
        "--port",
        "9000",
        "--cpu",
        "--preview-method",
        "auto x",
        "--verbose",
    ]


@pytest.mark.parametrize("port", ["0", "65536", "80a", "-1", "\u0661"])
def test_a_port_that_is_none_is_refused(startup: ModuleType, port: str) -> None:
    with pytest.raises(startup.UsageError, match="give a number from 1 to 65535"):
        startup.arguments({"COMFY_PORT": port}, [])


def test_an_open_quote_is_refused(startup: ModuleType) -> None:
    with pytest.raises(startup.UsageError, match="close every quote"):
        startup.arguments({"CLI_ARGS": "--x 'y"}, [])


def test_the_last_port_named_is_the_one_asked(startup: ModuleType) -> None:
    given = startup.arguments({"CLI_ARGS": "--port 9001"}, ["--port=9002"])
    assert startup.value_of("--port", given) == "9002"


def test_wrong_usage_is_status_2_with_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(STARTUP), "dance"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "kiln: say `serve` or `health`\n")


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        # Ends on Ctrl-C, as ComfyUI does.
        ("  print('Stopped')\n", 0),
        # Takes its time over a prompt: ended after the grace time.
        ("  time.sleep(60)\n", 128 + signal.SIGTERM),
    ],
)
def test_sigterm_ends_the_server(tmp_path: Path, ending: str, status: int) -> None:
    main = tmp_path / "main.py"
    # It says that it is up where it already catches: the signal comes right after that.
    waiting = "import time\ntry:\n  print('up', flush=True)\n  time.sleep(60)\n"
    main.write_text(f"{waiting}except KeyboardInterrupt:\n{ending}", "utf-8")
    script = STARTUP.read_text("utf-8").replace('Path("/app/main.py")', f"Path({str(main)!r})")
    script = script.replace("GRACE_SECONDS = 4.0", "GRACE_SECONDS = 0.3")
    copy = tmp_path / "startup.py"
    copy.write_text(script, "utf-8")
    child = subprocess.Popen(
        [sys.executable, str(copy), "serve"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"CLI_ARGS": "", "COMFY_PORT": "8188"},
    )
    assert child.stdout is not None
    while child.stdout.readline() != "up\n":
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=20)
    assert child.returncode == status
