"""The node pack in a real browser: found, wired, run, watched; pictures in dist/screenshots."""

from __future__ import annotations

import json
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from tests.support import browser, s3
from tests.support.comfyserver import ComfyServer, comfy_server
from tests.support.faultserver import fault_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver import Chrome
    from tests.support.faultserver import FaultServer

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
PACK = ROOT / "services/comfy/cloud-storage"
PICTURES = ROOT / "dist/screenshots"
EXAMPLES = sorted((PACK / "example_workflows").glob("*.json"))
BUCKET = "pack"
PATIENCE = 60
# No tour at the first start, and no note about versions over the nodes.
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Notification.ShowVersionUpdates": False}

# The node has grown around everything that it shows.
ROOM = "const node = app.graph.nodes.at(-1); return node.size[1] >= node.computeSize()[1]"
COLOURED = {"width": 640, "height": 360, "batch_size": 2, "color": 0x2E86C1}

READY = """
return !!(window.app?.graph && window.LiteGraph?.registered_node_types.SaveImageToCloud)
"""
CLEAR = "app.graph.clear(); app.canvas.ds.reset(); app.canvas.ds.offset = [40, 60]"
BUILD = """
const [nodes, links] = arguments;
const made = {};
for (const wanted of nodes) {
  const node = LiteGraph.createNode(wanted.type);
  app.graph.add(node);
  node.pos = wanted.pos;
  for (const [name, value] of Object.entries(wanted.widgets ?? {}))
    node.widgets.find((widget) => widget.name === name).value = value;
  made[wanted.id] = node;
}
return links.map(([from, output, to, input]) => {
  const place = (slots, name) => slots.findIndex((slot) => slot.name === name);
  const source = made[from], target = made[to];
  const out = place(source.outputs, output), into = place(target.inputs, input);
  return !!source.connect(out, target, into);
});
"""
FIELDS = """
return Object.fromEntries(app.graph.nodes.map((node) => [
  node.type, node.widgets?.find((widget) => widget.name === "cloud_storage_result")?.value]));
"""


@pytest.fixture(scope="module")
def slow() -> Iterator[FaultServer]:
    """A store whose one model takes sixteen seconds: time enough to look on, and to stop it."""
    with fault_server() as server:
        server.add(f"/{BUCKET}/slow.safetensors", bytes(24_000_000), rate=250_000.0)
        yield server


@pytest.fixture(scope="module")
def server(
    core_image: str, slow: FaultServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyServer]:
    folder = tmp_path_factory.mktemp("browser")
    buckets, models = folder / "buckets", folder / "models"
    (buckets / BUCKET).mkdir(parents=True)
    models.mkdir()
    models.chmod(0o777)
    mounts = {"/app/models/checkpoints": models}
    with (
        s3.rclone(buckets) as store,
        comfy_server(core_image, store.environment(BUCKET), mounts) as running,
    ):
        profile = {"provider": "Custom", "endpoint_url": slow.url, "bucket": BUCKET}
        profile |= {"access_key": "a", "secret_key": "b"}
        script = "umask 077; mkdir -p /app/user/__cloud_storage; "
        script += "cat > /app/user/__cloud_storage/profiles.json"
        running.execute("sh", "-c", script, stdin=json.dumps({"profiles": {"slow": profile}}))
        request = urllib.request.Request(
            running.url + "/api/settings",
            data=json.dumps(SETTINGS).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()
        yield running


@pytest.fixture(scope="module")
def chrome(server: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    browser.ensure()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as driver:
        driver.get(server.url)
        wait(lambda: driver.execute_script(READY))
        yield driver


@pytest.fixture
def page(chrome: Chrome) -> Chrome:
    """ComfyUI's page with an empty canvas."""
    chrome.execute_script(CLEAR)
    return chrome


def wait(done: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = done()
        if value:
            return value
        time.sleep(0.1)
    raise TimeoutError("the page does not get there")


def picture(page: Chrome, name: str) -> None:
    time.sleep(0.4)  # the canvas draws what has changed in its next frames
    assert page.save_screenshot(str(PICTURES / f"{name}.png"))


def build(page: Chrome, nodes: list[dict[str, Any]], links: list[tuple[str, ...]]) -> None:
    assert page.execute_script(BUILD, nodes, links) == [True] * len(links)


def run(page: Chrome, server: ComfyServer) -> dict[str, Any]:
    """Press Run and return the new entry of the history."""
    before = set(server.json("/history"))
    page.find_element(By.CSS_SELECTOR, "[data-testid='queue-button']").click()
    fresh: list[str] = wait(lambda: sorted(set(server.json("/history")) - before))
    entry: dict[str, Any] = server.json("/history")[fresh[0]]
    return entry


def names_of_nodes(server: ComfyServer) -> list[str]:
    info = server.json("/object_info")
    found = [n["display_name"] for n in info.values() if n["category"].startswith("cloud_storage")]
    return sorted(found)


def test_every_node_is_found_by_its_name(page: Chrome, server: ComfyServer) -> None:
    canvas = page.find_element(By.ID, "graph-canvas")
    names = names_of_nodes(server)
    assert len(names) == 11
    for name in names:
        ActionChains(page).move_to_element_with_offset(canvas, 150, 150).double_click().perform()
        field = wait(lambda: page.switch_to.active_element)
        wait(lambda: page.switch_to.active_element.tag_name == "input")
        field = page.switch_to.active_element
        field.send_keys(name)
        wait(partial(page.find_elements, By.XPATH, f"//*[normalize-space()={name!r}]"))
        if name == "Save Image to Cloud":
            picture(page, "search")
        field.send_keys(Keys.ENTER)
        kinds = page.execute_script("return app.graph.nodes.map((node) => node.title)")
        assert kinds == [name]
        ActionChains(page).send_keys(Keys.ESCAPE).perform()
        page.execute_script(CLEAR)


def test_a_profile_wires_to_a_save_node_and_the_result_is_shown(
    page: Chrome, server: ComfyServer
) -> None:
    build(
        page,
        [
            {"id": "p", "type": "CloudStorageProfile", "pos": [40, 60]},
            {"id": "e", "type": "EmptyImage", "pos": [40, 330], "widgets": COLOURED},
            {"id": "s", "type": "SaveImageToCloud", "pos": [420, 60]},
        ],
        [("p", "profile", "s", "profile"), ("e", "IMAGE", "s", "images")],
    )
    entry = run(page, server)
    assert entry["status"]["status_str"] == "success", entry["status"]
    fields = wait(lambda: (found := page.execute_script(FIELDS))["SaveImageToCloud"] and found)
    written = [f"s3://{BUCKET}/comfyui/images/ComfyUI_{n}.png" for n in (0, 1)]
    assert fields["SaveImageToCloud"] == "\n".join(written)
    assert fields["CloudStorageProfile"].endswith(f"bucket {BUCKET}")
    wait(lambda: page.execute_script("return app.graph.nodes.at(-1).imgs?.length === 2"))
    wait(lambda: page.execute_script(ROOM))
    picture(page, "saved")
    # What a run said is no part of the workflow.
    assert "s3://" not in page.execute_script("return JSON.stringify(app.graph.serialize())")
    sent = page.execute_async_script(
        "app.graphToPrompt().then((made) => arguments[0](JSON.stringify(made)))"
    )
    assert "cloud_storage_result" not in sent


def test_a_socket_of_another_kind_is_refused(page: Chrome) -> None:
    nodes = [
        {"id": "e", "type": "EmptyImage", "pos": [40, 60]},
        {"id": "s", "type": "SaveImageToCloud", "pos": [420, 60]},
        {"id": "m", "type": "LoadModelFromCloud", "pos": [40, 400]},
        {"id": "c", "type": "CheckpointLoaderSimple", "pos": [420, 700]},
    ]
    links = [("e", "IMAGE", "s", "profile"), ("m", "model_filename", "c", "ckpt_name")]
    assert page.execute_script(BUILD, nodes, links) == [False, True]


def test_a_download_shows_its_progress_and_can_be_stopped(
    page: Chrome, server: ComfyServer
) -> None:
    given = {"model_type": "checkpoints", "key": "slow.safetensors"}
    build(
        page,
        [
            {"id": "p", "type": "CloudStorageProfile", "pos": [40, 60]},
            {"id": "m", "type": "LoadModelFromCloud", "pos": [420, 60], "widgets": given},
            {"id": "v", "type": "PreviewAny", "pos": [860, 60]},
        ],
        [("p", "profile", "m", "profile"), ("m", "model_filename", "v", "source")],
    )
    page.execute_script("app.graph.nodes[0].widgets[0].value = 'slow'")
    page.execute_script(
        "window.seen = []; app.api.addEventListener('progress_state', (event) => "
        "window.seen.push(...Object.values(event.detail.nodes).map((n) => [n.value, n.max])))"
    )
    before = set(server.json("/history"))
    page.find_element(By.CSS_SELECTOR, "[data-testid='queue-button']").click()

    def shares() -> list[float]:
        seen = page.execute_script("return window.seen")
        return [value / most for value, most in seen if most > 1]

    # Six parts are on their way at once: by then the first of them have arrived whole.
    wait(lambda: any(0.4 < share < 0.9 for share in shares()))
    wait(lambda: "MiB of 22.9 MiB" in page.find_element(By.TAG_NAME, "body").text)
    picture(page, "progress")
    page.execute_script("app.api.interrupt(null)")
    (fresh,) = wait(lambda: sorted(set(server.json("/history")) - before))
    told = [name for name, _ in server.json("/history")[fresh]["status"]["messages"]]
    assert "execution_interrupted" in told
    # The next run goes on where this one was stopped.
    entry = run(page, server)
    assert entry["status"]["status_str"] == "success", entry["status"]
    fields = wait(lambda: (found := page.execute_script(FIELDS))["LoadModelFromCloud"] and found)
    assert "were here from an earlier attempt" in fields["LoadModelFromCloud"]
    picture(page, "downloaded")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_load(page: Chrome, server: ComfyServer, example: Path) -> None:
    graph = json.loads(example.read_text())
    page.execute_async_script("app.loadGraphData(arguments[0]).then(() => arguments[1]())", graph)
    kinds = page.execute_script("return app.graph.nodes.map((node) => node.type).sort()")
    assert kinds == sorted(node["type"] for node in graph["nodes"])
    links = page.execute_script("return app.graph.links.size ?? app.graph._links.size")
    assert links == len(graph["links"])
    sent = page.execute_async_script(
        "app.graphToPrompt().then((made) => arguments[0](made.output))"
    )
    known = set(server.json("/object_info"))
    assert {node["class_type"] for node in sent.values()} <= known
    picture(page, f"example-{example.stem}")
    if example.stem in ("save_images", "audio_and_video"):
        assert server.run(sent)["status"]["status_str"] == "success"
    page.execute_script("document.activeElement?.blur()")


def test_all_examples_are_there() -> None:
    names = [path.stem for path in EXAMPLES]
    assert names == ["audio_and_video", "load_list_share", "model_from_bucket", "save_images"]
