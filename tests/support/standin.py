"""What comfy-cli 1.23.0 takes for a ComfyUI workspace, and what its Manager 4.2.2 imports of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_PATHS = """\
import os

base_path = os.path.dirname(os.path.realpath(__file__))
folder_names_and_paths = {"custom_nodes": ([os.path.join(base_path, "custom_nodes")], set())}

def get_folder_paths(name):
    return folder_names_and_paths[name][0]

def get_system_user_directory(name="system"):
    return os.path.join(base_path, "user", f"__{name}")
"""

CLI_ARGS = """\
class Arguments:
    def __getattr__(self, name):
        return None

args = Arguments()
"""


def write_workspace(folder: Path) -> None:
    """Write the files and folders of a workspace into `folder`; no server is among them."""
    (folder / "nodes.py").write_text("", "utf-8")
    (folder / "folder_paths.py").write_text(FOLDER_PATHS, "utf-8")
    (folder / "utils").mkdir()
    (folder / "utils" / "extra_config.py").write_text("", "utf-8")
    for name in ("custom_nodes", "models", "input", "comfy", "comfy_extras"):
        (folder / name).mkdir()
        (folder / name / "here").write_text("", "utf-8")
    (folder / "comfy" / "cli_args.py").write_text(CLI_ARGS, "utf-8")
