"""Profiles, listings, URLs and the connection test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conftest import Bucket, part

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_profile_says_where_it_leads(one_bucket: Bucket, execute: Callable[..., Any]) -> None:
    made = execute("CloudStorageProfile", profile="(env vars)", bucket="other", path_prefix="a/")
    url = one_bucket.client.meta.endpoint_url
    assert made.ui == {"text": [f"environment variables: Custom ({url}, us-east-1), bucket other"]}
    with pytest.raises(Exception, match="keys are never sent to another provider"):
        execute("CloudStorageProfile", profile="(env vars)", provider="AWS S3")


def test_a_listing(bucket: Bucket, execute: Callable[..., Any]) -> None:
    for name in ("a/1.bin", "a/2.bin", "b.bin"):
        bucket.put(name, bytes(1_500_000))
    made = execute("ListBucketContents", prefix="a/", max_results=100)
    assert made.out == ("a/1.bin  (1.4 MB)\na/2.bin  (1.4 MB)", "a/1.bin\na/2.bin")
    assert execute("ListBucketContents", prefix="", max_results=1).out[1] == "a/1.bin"
    empty = execute("ListBucketContents", prefix="none", max_results=1)
    assert (empty.out, empty.ui) == (("", ""), {"text": ["(nothing there)"]})


def test_a_sharing_url(bucket: Bucket, execute: Callable[..., Any]) -> None:
    bucket.put("a b.txt", b"hello")
    (url,) = execute("GeneratePresignedURL", key="a b.txt", expires_hours=24).out
    assert "X-Amz-Expires=86400" in url
    connections = part("shared.connections")
    reader = connections.Connections()
    assert reader.get(connections.Request(url=url)).read() == b"hello"
    reader.close()
    with pytest.raises(Exception, match="Object not found"):
        execute("GeneratePresignedURL", key="gone", expires_hours=24)


def test_the_connection_test(bucket: Bucket, execute: Callable[..., Any]) -> None:
    bucket.put("x", b"")
    (report,) = execute("TestCloudConnection", test_writing=True).out
    lines = report.split("\n")
    assert lines[0].startswith("environment variables: Custom (http://127.0.0.1:")
    assert lines[1].startswith("the bucket answers in ")
    assert lines[2] == "first keys: x"
    assert lines[3].startswith("wrote, read and removed 74 B in ")
    assert bucket.keys() == ["x"]


def test_wrong_keys_are_named(
    bucket: Bucket, execute: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if bucket.server == "moto":
        pytest.skip("moto takes any key")
    monkeypatch.setenv("COMFY_S3_SECRET_KEY", "wrong")
    with pytest.raises(Exception, match="the secret key does not belong to the access key"):
        execute("TestCloudConnection")
    monkeypatch.setenv("COMFY_S3_ACCESS_KEY", "WRONGACCESSKEY01")
    with pytest.raises(Exception, match="Invalid access key|Access denied"):
        execute("TestCloudConnection")
    monkeypatch.delenv("COMFY_S3_ACCESS_KEY")
    with pytest.raises(Exception, match="Cloud storage access key not configured"):
        execute("TestCloudConnection")


@pytest.mark.parametrize("key", ["", " ", "/", "a/"])
@pytest.mark.parametrize(
    "node", ["LoadImageFromCloud", "LoadVideoFromCloud", "GeneratePresignedURL"]
)
def test_a_key_that_names_nothing(
    one_bucket: Bucket, execute: Callable[..., Any], node: str, key: str
) -> None:
    with pytest.raises(Exception, match="names no object") as told:
        execute(node, key=key)
    assert "List Bucket Contents shows them" in str(told.value)


def test_an_address_as_the_nodes_show_it_is_a_key(
    one_bucket: Bucket, execute: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_S3_PATH_PREFIX", "team/")
    one_bucket.put("team/x.txt", b"x")
    whole = f"s3://{one_bucket.name}/team/x.txt"
    urls = [execute("GeneratePresignedURL", key=key).out[0] for key in (whole, "x.txt")]
    assert [url.partition("?")[0] for url in urls] == [urls[0].partition("?")[0]] * 2
    listed = execute("ListBucketContents", prefix=f"s3://{one_bucket.name}/team/")
    assert listed.out[1] == "team/x.txt"
    with pytest.raises(Exception, match="s3://other/x.txt is not in bucket-"):
        execute("GeneratePresignedURL", key="s3://other/x.txt")


def test_a_key_that_begins_with_a_slash_is_reached_by_two(
    one_bucket: Bucket, execute: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_S3_PATH_PREFIX", "team")
    for key in ("/odd.txt", "odd.txt"):
        one_bucket.put(key, b"x")
    asked = ["//odd.txt", f"s3://{one_bucket.name}//odd.txt", "/odd.txt"]
    paths = [
        execute("GeneratePresignedURL", key=key).out[0].partition("?")[0].split("/", 3)[3]
        for key in asked
    ]
    assert paths == [f"{one_bucket.name}{end}" for end in ("//odd.txt", "//odd.txt", "/odd.txt")]
    assert execute("ListBucketContents", prefix="//").out[1] == "/odd.txt"


@pytest.mark.parametrize("node", ["LoadAudioFromCloud", "LoadModelFromCloud"])
def test_a_bucket_s_address_names_no_object(
    one_bucket: Bucket, execute: Callable[..., Any], node: str
) -> None:
    more = {"model_type": "checkpoints"} if node == "LoadModelFromCloud" else {}
    with pytest.raises(Exception, match="names no object"):
        execute(node, key=f"s3://{one_bucket.name}", **more)


def test_an_object_that_cannot_be_read_is_named_with_its_prefix(
    one_bucket: Bucket, execute: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_S3_PATH_PREFIX", "team")
    one_bucket.put("team/x.png", b"no picture")
    told = f"s3://{one_bucket.name}/team/x.png cannot be read as an image"
    for key in ("x.png", "/team/x.png", f"s3://{one_bucket.name}/team/x.png"):
        with pytest.raises(Exception, match=told):
            execute("LoadImageFromCloud", key=key)


def test_a_key_that_may_not_delete_passes_the_connection_test(
    one_bucket: Bucket, execute: Callable[..., Any]
) -> None:
    def refuse(request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse  # only this answer needs it

        class Raw:
            def stream(self) -> Any:
                yield b"<Error><Code>AccessDenied</Code></Error>"

        return AWSResponse(request.url, 403, {}, Raw())

    client = part("runtime").open_store(None).client()
    client.meta.events.register("before-send.s3.DeleteObject", refuse)
    (report,) = execute("TestCloudConnection", test_writing=True).out
    (left,) = one_bucket.keys()
    line = report.split("\n")[3]
    assert line.startswith("wrote and read 74 B in ")
    assert line.endswith(f"; this key may not delete, which no node needs: {left} stays")


def test_a_whole_listing_is_no_key(one_bucket: Bucket, execute: Callable[..., Any]) -> None:
    for name in ("a.png", "b.png"):
        one_bucket.put(name, b"x")
    listed = execute("ListBucketContents", prefix="").out[1]
    with pytest.raises(Exception, match="The key has 2 lines, and no such object exists"):
        execute("LoadImageFromCloud", key=listed)
