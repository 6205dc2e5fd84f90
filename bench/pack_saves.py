"""Save a batch of small images by the pack's node and by a plain loop; run by bench/pack.py.

Prints one line of JSON: the seconds of each round, of the node and of the loop.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import tempfile
import time

from comfy.cli_args import args

args.cpu = True
args.base_directory = tempfile.mkdtemp()

import boto3  # noqa: E402  # ComfyUI's arguments come first
import nodes  # noqa: E402  # the same
import numpy as np  # noqa: E402  # the same
import torch  # noqa: E402  # the same
from PIL import Image  # noqa: E402  # the same


def by_node(images: torch.Tensor, prefix: str) -> float:
    """Return the seconds that the node takes."""
    node = nodes.NODE_CLASS_MAPPINGS["SaveImageToCloud"].PREPARE_CLASS_CLONE({"hidden_inputs": {}})
    begun = time.perf_counter()
    asyncio.run(
        node.execute(images=images, key_prefix=prefix, filename="%batch_num%", format="png")
    )
    return time.perf_counter() - begun


def by_loop(images: torch.Tensor, prefix: str) -> float:
    """Return the seconds that one image after the other takes, with one client."""
    begun = time.perf_counter()
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["COMFY_S3_ENDPOINT_URL"],
        aws_access_key_id=os.environ["COMFY_S3_ACCESS_KEY"],
        aws_secret_access_key=os.environ["COMFY_S3_SECRET_KEY"],
        region_name="us-east-1",
    )
    for number, image in enumerate(images):
        array = np.clip(255.0 * image.numpy(), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG", compress_level=4)
        client.put_object(
            Bucket=os.environ["COMFY_S3_BUCKET"],
            Key=f"{prefix}{number}.png",
            Body=buffer.getvalue(),
            ContentType="image/png",
        )
    return time.perf_counter() - begun


def main() -> None:
    """Take turns, so that both see the same machine."""
    pack, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if not asyncio.run(nodes.load_custom_node(pack)):
        sys.exit("the pack does not load")
    images = torch.rand(count, 64, 64, 3)
    found: tuple[list[float], list[float]] = ([], [])
    by_node(images[:1], f"{time.time_ns()}/")  # both have what they import
    for number in range(rounds):
        found[0].append(by_node(images, f"node-{time.time_ns()}-{number}/"))
        found[1].append(by_loop(images, f"loop-{time.time_ns()}-{number}/"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
