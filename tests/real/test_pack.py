"""The node pack in the built image: what clients do with it, and what they must never see."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import tempfile
import time
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import s3
from tests.support.comfyserver import ComfyServer, comfy_server
from tests.support.samples import chunks, pixels, upscaler
from tests.support.with_s3 import described

from comfykiln.transfer.upload import upload

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
PACK = ROOT / "services/comfy/cloud-storage"
INSIDE = "/app/custom_nodes/cloud-storage"
PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")  # in Python alone
BUCKET = "pack"
WIDTH, HEIGHT = 48, 32


@pytest.fixture(scope="module")
def buckets() -> Iterator[s3.Server]:
    """rclone's server, whose objects are files here, for all to read as the container's user."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "buckets"
        (folder / BUCKET).mkdir(parents=True)
        with s3.rclone(folder) as server:
            yield server


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the host that any user may write, mounted for upscale models."""
    folder = tmp_path_factory.mktemp("models")
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="module")
def server(core_image: str, buckets: s3.Server, models: Path) -> Iterator[ComfyServer]:
    mounts = {"/app/models/upscale_models": models}
    # The most talkative log there is: what it holds, anyone may read over HTTP.
    env = buckets.environment(BUCKET) | {"CLI_ARGS": "--verbose DEBUG"}
    with comfy_server(core_image, env, mounts) as running:
        yield running


def stored(buckets: s3.Server, key: str) -> bytes:
    assert buckets.folder is not None
    return (buckets.folder / BUCKET / key).read_bytes()


def put(buckets: s3.Server, key: str, body: bytes) -> None:
    upload(buckets.store(BUCKET), key, body, content_type="application/octet-stream")


# --- the contract tests, run by the image's own Python against the pack that is baked in


def test_the_contract_holds_in_the_image(core_image: str, tmp_path: Path) -> None:
    programs = tmp_path / "pytest"
    for file in (file for name in PYTEST for file in metadata.files(name) or ()):
        if file.suffix == ".py" and ".." not in file.parts:
            (programs / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), programs / file)
    buckets = tmp_path / "buckets"
    buckets.mkdir()
    with s3.moto() as moto, s3.rclone(buckets) as rclone:
        argv = ["docker", "run", "--rm", "--network=host", "--read-only", "--tmpfs=/tmp"]
        argv += [f"--env=PACK_TEST_S3={described(moto=moto, rclone=rclone)}"]
        argv += [f"--env=PACK_TEST_PACK={INSIDE}", "--env=PYTHONDONTWRITEBYTECODE=1"]
        argv += ["--env=PYTHONPATH=/app:/pytest:/contract", f"--volume={programs}:/pytest:ro"]
        argv += [f"--volume={PACK}/tests/contract:/contract:ro", "--workdir=/tmp"]
        argv += ["--entrypoint=/app/.venv/bin/python", core_image, "-m", "pytest", "-q"]
        argv += ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir=/contract", "/contract"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert passed is not None
    assert int(passed[1]) >= 130, done.stdout[-2000:]
    assert "failed" not in done.stdout


# --- the server, by its HTTP interface


def test_every_node_of_the_pack_is_there(server: ComfyServer) -> None:
    text = (PACK / "pyproject.toml").read_text()
    listed = re.search(r"^nodes = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    info = server.json("/object_info")
    found = {name for name, node in info.items() if node["category"].startswith("cloud_storage")}
    assert found == set(re.findall(r'"(\w+)"', listed[1]))


def image_graph(seed: int, **save: Any) -> dict[str, Any]:
    """A picture of many colours, saved by ComfyUI itself and to the bucket."""
    size = {"width": WIDTH, "height": HEIGHT, "batch_size": 1}
    given = {"key_prefix": "img/", "filename": f"p{seed}", "format": "png", "quality": 95}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": 0x1188CC + seed}},
        "2": {
            "class_type": "ImageAddNoise",
            "inputs": {"image": ["1", 0], "seed": seed, "strength": 0.5},
        },
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2", 0], "filename_prefix": f"own{seed}"},
        },
        "4": {"class_type": "SaveImageToCloud", "inputs": {"images": ["2", 0], **given, **save}},
    }


def test_an_image_is_saved_listed_shared_and_loaded_pixel_equal(
    server: ComfyServer, buckets: s3.Server
) -> None:
    shown = server.succeed(image_graph(1))
    (own,) = shown["3"]["images"]
    assert shown["4"]["text"] == [f"s3://{BUCKET}/img/p1.png"]
    written = stored(buckets, "img/p1.png")
    assert pixels(written) == pixels(server.view(own))
    assert server.view(shown["4"]["images"][0]) == written
    told = dict(text.split(b"\0", 1) for text in chunks(written)[b"tEXt"])
    assert json.loads(told[b"prompt"])["4"]["class_type"] == "SaveImageToCloud"

    browse = {
        "1": {"class_type": "ListBucketContents", "inputs": {"prefix": "img/", "max_results": 5}},
        "2": {
            "class_type": "GeneratePresignedURL",
            "inputs": {"key": "img/p1.png", "expires_hours": 1},
        },
        "3": {"class_type": "TestCloudConnection", "inputs": {"test_writing": True}},
    }
    said = server.succeed(browse)
    assert said["1"]["text"][0].startswith("img/p1.png  (")
    with urllib.request.urlopen(said["2"]["text"][0]) as answer:
        assert answer.read() == written
    assert "wrote, read and removed" in said["3"]["text"][0]

    load = {
        "1": {"class_type": "LoadImageFromCloud", "inputs": {"key": "img/p1.png"}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "back"},
        },
    }
    (back,) = server.succeed(load)["2"]["images"]
    assert pixels(server.view(back)) == pixels(written)


def test_sound_and_video_are_saved_and_loaded(server: ComfyServer, buckets: s3.Server) -> None:
    sound = {"duration": 1.0, "sample_rate": 44100, "channels": 2}
    size = {"width": WIDTH, "height": HEIGHT, "batch_size": 8, "color": 0x2266AA}
    audio = {"key_prefix": "a/", "filename": "s", "format": "flac"}
    video = {"key_prefix": "v/", "filename": "clip", "format": "mp4", "codec": "h264"}
    shown = server.succeed(
        {
            "1": {"class_type": "EmptyAudio", "inputs": sound},
            "2": {"class_type": "EmptyImage", "inputs": size},
            "3": {
                "class_type": "CreateVideo",
                "inputs": {"images": ["2", 0], "fps": 8.0, "audio": ["1", 0]},
            },
            "4": {"class_type": "SaveAudioToCloud", "inputs": {"audio": ["1", 0], **audio}},
            "5": {"class_type": "SaveVideoToCloud", "inputs": {"video": ["3", 0], **video}},
            # The written keys lead straight into the nodes that load.
            "6": {"class_type": "LoadAudioFromCloud", "inputs": {"key": ["4", 0]}},
            "7": {"class_type": "LoadVideoFromCloud", "inputs": {"key": ["5", 0]}},
            "8": {
                "class_type": "SaveAudio",
                "inputs": {"audio": ["6", 0], "filename_prefix": "back"},
            },
            "9": {"class_type": "GetVideoComponents", "inputs": {"video": ["7", 0]}},
            "10": {"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}},
        }
    )
    assert shown["4"]["text"] == [f"s3://{BUCKET}/a/s.flac"]
    assert stored(buckets, "a/s.flac")[:4] == b"fLaC"
    assert stored(buckets, "v/clip.mp4")[4:8] == b"ftyp"
    assert server.view(shown["8"]["audio"][0])[:4] == b"fLaC"
    assert len(shown["10"]["images"]) == 8


def model_graph(kind: str, key: str) -> dict[str, Any]:
    given = {"model_type": kind, "key": key, "force_redownload": False}
    return {"1": {"class_type": "LoadModelFromCloud", "inputs": given}}


def test_a_model_is_downloaded_and_a_loader_runs_it(
    server: ComfyServer, buckets: s3.Server, models: Path
) -> None:
    put(buckets, "esrgan/tiny.safetensors", upscaler())
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 0}
    graph = model_graph("upscale_models", "esrgan/tiny.safetensors") | {
        "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": ["1", 0]}},
        "3": {"class_type": "EmptyImage", "inputs": size},
        "4": {
            "class_type": "ImageUpscaleWithModel",
            "inputs": {"upscale_model": ["2", 0], "image": ["3", 0]},
        },
        "5": {"class_type": "PreviewImage", "inputs": {"images": ["4", 0]}},
    }
    shown = server.succeed(graph)
    assert "esrgan/tiny.safetensors: downloaded" in shown["1"]["text"][0]
    assert (models / "esrgan/tiny.safetensors").read_bytes() == upscaler()
    header, _ = pixels(server.view(shown["5"]["images"][0]))
    assert struct.unpack(">II", header[:8]) == (32, 32)
    info = server.json("/object_info/UpscaleModelLoader")["UpscaleModelLoader"]
    assert "esrgan/tiny.safetensors" in json.dumps(info["input"]["required"]["model_name"])


def test_a_read_only_models_folder_is_said(server: ComfyServer, buckets: s3.Server) -> None:
    put(buckets, "x.safetensors", b"x" * 1000)
    graph = model_graph("clip_vision", "x.safetensors") | {
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
    }
    told = server.fail(graph)
    assert told["exception_message"].strip() == (
        "No models folder for clip_vision can be written: /app/models/clip_vision "
        "(read-only, or not ours).\n"
        "  → mount a writable volume there, or add a writable folder for clip_vision in "
        "extra_model_paths.yaml"
    )


# --- secrets

CANARY = "CANARYneverShown42"


@pytest.fixture(scope="module")
def canaries(server: ComfyServer, buckets: s3.Server) -> str:
    """Profiles in the running server whose keys are canaries; returns the file's content."""
    profile = {
        "provider": "Custom",
        "access_key": f"ACCESS{CANARY}",
        "secret_key": f"SECRET{CANARY}",
        "session_token": f"TOKEN{CANARY}",
        "bucket": BUCKET,
    }
    endpoints = {"gone": "http://127.0.0.1:1", "refused": buckets.url}
    text = json.dumps(
        {"profiles": {name: profile | {"endpoint_url": url} for name, url in endpoints.items()}}
    )
    script = "umask 077; mkdir -p /app/user/__cloud_storage; "
    script += "cat > /app/user/__cloud_storage/profiles.json"
    server.execute("sh", "-c", script, stdin=text)
    return text


PLACE = {"key_prefix": "x/", "filename": "x"}
MADE: dict[str, Any] = {
    "e": {
        "class_type": "EmptyImage",
        "inputs": {"width": 16, "height": 16, "batch_size": 2, "color": 0},
    },
    "a": {
        "class_type": "EmptyAudio",
        "inputs": {"duration": 0.1, "sample_rate": 44100, "channels": 1},
    },
    "c": {"class_type": "CreateVideo", "inputs": {"images": ["e", 0], "fps": 8.0}},
}
FAILING: dict[str, dict[str, Any]] = {
    "SaveImageToCloud": {"images": ["e", 0], "format": "png", "quality": 9, **PLACE},
    "SaveAudioToCloud": {"audio": ["a", 0], "format": "flac", **PLACE},
    "SaveVideoToCloud": {"video": ["c", 0], "format": "mp4", "codec": "auto", **PLACE},
    "LoadImageFromCloud": {"key": "x.png"},
    "LoadAudioFromCloud": {"key": "x.flac"},
    "LoadVideoFromCloud": {"key": "x.mp4"},
    "LoadModelFromCloud": model_graph("upscale_models", "y.pth")["1"]["inputs"],
    "ListBucketContents": {"prefix": "", "max_results": 1},
    "GeneratePresignedURL": {"key": "x", "expires_hours": 1},
    "TestCloudConnection": {"test_writing": True},
}


def failing_graph(node: str, profile: str) -> dict[str, Any]:
    return MADE | {
        "p": {"class_type": "CloudStorageProfile", "inputs": {"profile": profile}},
        "n": {"class_type": node, "inputs": {**FAILING[node], "profile": ["p", 0]}},
        "z": {"class_type": "PreviewAny", "inputs": {"source": ["n", 0]}},
    }


@pytest.mark.usefixtures("canaries")
@pytest.mark.parametrize(
    ("profile", "told"), [("gone", "cannot be reached"), ("refused", "Invalid access key")]
)
def test_failing_nodes_show_no_key_anywhere(server: ComfyServer, profile: str, told: str) -> None:
    import websocket  # of selenium, used here alone

    client = f"client-{profile}"
    address = server.url.replace("http", "ws") + f"/ws?clientId={client}"
    socket = websocket.create_connection(address, timeout=5)
    seen: list[str] = []
    for node in FAILING:
        graph = failing_graph(node, profile)
        entry = _until_done(server, server.post(graph, client)["prompt_id"])
        assert entry["status"]["status_str"] == "error", (node, entry)
        error = dict(entry["status"]["messages"])["execution_error"]
        assert (error["node_type"], told in error["exception_message"]) == (node, True), error
        seen.append(json.dumps(entry))
    socket.settimeout(0.5)
    while True:
        try:
            message = socket.recv()
        except websocket.WebSocketTimeoutException:
            break
        seen.append(message if isinstance(message, str) else repr(message))
    socket.close()
    assert any("execution_error" in text for text in seen)
    paths = ["/history", "/queue", "/object_info", "/internal/logs", "/internal/logs/raw"]
    paths += ["/api/jobs", "/settings", "/userdata?dir=.&recurse=true", "/extensions"]
    seen += [server.get(path).decode() for path in paths]
    seen.append(server.log())
    assert not [text[:2000] for text in seen if CANARY in text]


def _until_done(server: ComfyServer, prompt: str) -> dict[str, Any]:
    while not (history := server.json(f"/history/{prompt}")):
        time.sleep(0.1)
    entry: dict[str, Any] = history[prompt]
    return entry


def test_the_profiles_cannot_be_had_over_http(server: ComfyServer, canaries: str) -> None:
    assert CANARY in canaries
    name = "__cloud_storage%2Fprofiles.json"
    paths = [f"/userdata/{name}", f"/userdata/..%2F{name}", f"/v2/userdata?path=..%2F{name}"]
    paths += ["/userdata?dir=..%2F__cloud_storage", "/view?filename=profiles.json&type=input"]
    paths += ["/view?filename=profiles.json&type=output&subfolder=..%2Fuser%2F__cloud_storage"]
    for path in paths:
        for headers in ({}, {"comfy-user": "__cloud_storage"}):
            status = server.status(path, **headers)
            assert status >= 400, (path, headers, status)


def test_a_file_open_to_others_is_refused_in_the_server(server: ComfyServer, canaries: str) -> None:
    path = "/app/user/__cloud_storage/profiles.json"
    assert canaries
    server.execute("chmod", "644", path)
    graph = {
        "1": {"class_type": "CloudStorageProfile", "inputs": {"profile": "gone"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    refused = json.dumps(server.post(graph), ensure_ascii=False)
    assert f"run: chmod 600 {path}" in refused
    assert CANARY not in refused
    server.execute("chmod", "600", path)
    shown = server.succeed(graph)["2"]["text"]
    assert shown == [f"gone: Custom (http://127.0.0.1:1, us-east-1), bucket {BUCKET}"]
