"""Values that leave a document for another program: what is let through and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from comfykiln.parsing.faults import Faults
from comfykiln.parsing.values import (
    check_name,
    check_names_differ,
    check_ref,
    check_repository,
    check_url,
    directory_name,
    has_credentials,
    https_url,
    is_home_path,
    is_package_name,
    is_version,
    is_windows_path,
    normal_name,
    repository_key,
    shown,
)
from comfykiln.restore.packages import normalized
from comfykiln.system.gate import masked


def rule_of(faults: Faults) -> str:
    return ",".join(fault.rule for fault in faults.records)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("ComfyUI-Manager", ""),
        ("comfyui_controlnet_aux", ""),
        ("websocket_image_save.py", ""),
        (".disabled", ""),
        ("节点", ""),
        ("", "name.empty"),
        ("  ", "name.empty"),
        ("a/b", "name.separator"),
        ("..\\b", "name.separator"),
        ("../x", "name.separator"),
        ("..", "name.reserved"),
        (".", "name.reserved"),
        (" a", "name.reserved"),
        ("a\0b", "name.nul"),
        ("a\nb", "name.newline"),
        ("a\u2028b", "name.newline"),
        ("a\x7fb", "name.newline"),
        ("a\x85b", "name.newline"),
        ("a\u202eb", "name.newline"),
        ("-rf", "name.dash"),
        ("CON", "name.reserved"),
        ("nul.txt", "name.reserved"),
        ("é" * 128, "name.length"),
    ],
)
def test_a_name_is_one_path_component(name: str, rule: str) -> None:
    faults = Faults("x")
    assert check_name(name, "$", faults) is (rule == "")
    assert rule_of(faults) == rule


@pytest.mark.parametrize(
    ("ref", "rule"),
    [
        ("main", ""),
        ("v1.0.0", ""),
        ("feature/x", ""),
        ("refs/heads/main", ""),
        ("3.33.8", ""),
        ("a" * 40, ""),
        ("--upload-pack=touch pwned", "ref.dash"),
        ("-b", "ref.dash"),
        ("a b", "ref.format"),
        ("a..b", "ref.format"),
        ("a~1", "ref.format"),
        ("a^{commit}", "ref.format"),
        ("a:b", "ref.format"),
        ("a\nb", "ref.format"),
        ("a\x85b", "ref.format"),
        ("a\\b", "ref.format"),
        ("a*", "ref.format"),
        ("@{u}", "ref.format"),
        ("x.lock", "ref.format"),
        ("/x", "ref.format"),
        ("x/", "ref.format"),
        ("x.", "ref.format"),
        (".x", "ref.format"),
        ("a//b", "ref.format"),
        ("", "ref.format"),
        ("a" * 256, "ref.length"),
    ],
)
def test_a_ref_is_a_git_ref_and_never_an_option(ref: str, rule: str) -> None:
    faults = Faults("x")
    assert check_ref(ref, "$", faults) is (rule == "")
    assert rule_of(faults) == rule


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://github.com/o/r", ""),
        ("https://github.com/o/r.git", ""),
        ("http://example.org/r", ""),
        ("ssh://git@example.org:2222/o/r.git", ""),
        ("git@github.com:o/r.git", ""),
        ("git://example.org/r", ""),
        ("https://codeberg.org/o/r", ""),
        ("https://user:token@example.org/r", ""),
        ("ext::sh -c touch% pwned", "url.transport"),
        ("ext::sh", "url.transport"),
        ("EXT::sh", "url.transport"),
        ("fd::17", "url.transport"),
        ("file:///etc", "url.transport"),
        ("/etc/passwd", "url.transport"),
        ("../up", "url.transport"),
        ("C:\\r", "url.transport"),
        ("--upload-pack=x", "url.dash"),
        ("ssh://-oProxyCommand=x/r", "url.dash"),
        ("ssh://-oProxyCommand@host/r", "url.dash"),
        ("https:///r", "url.format"),
        ("https://[::1/r", "url.format"),
        ("https://host:port/r", "url.format"),
        ("https://ho st/r", "url.control"),
        ("https://host/r\nRUN x", "url.control"),
        ("git@-host:x", "url.transport"),
        ("https://host/" + "a" * 2050, "url.length"),
        ("", "url.transport"),
    ],
)
def test_a_repository_is_no_program_and_no_option(url: str, rule: str) -> None:
    faults = Faults("x")
    assert check_repository(url, "$", faults) is (rule == "")
    assert rule_of(faults) == rule


def test_a_fetched_url_takes_only_the_schemes_named() -> None:
    faults = Faults("x")
    assert check_url("s3://bucket/key with space (1).safetensors", "$", faults, ("s3",))
    assert not check_url("s3://bucket/key", "$", faults, ("https",))
    assert "\n".join(str(fault) for fault in faults.records) == (
        "$: 's3://bucket/key': the scheme s3 is not allowed; expected https://…; "
        "use the https address [url.transport]"
    )


def test_names_that_differ_by_case_collide() -> None:
    faults = Faults("x")
    check_names_differ([("A", "$.a"), ("b", "$.b"), ("a", "$.c"), ("A", "$.d")], faults)
    assert [(fault.path, fault.rule) for fault in faults.records] == [("$.c", "name.case")]


def test_messages_never_show_credentials_or_control_characters() -> None:
    assert masked("https://me:s3cret@h/r?token=abc&x=1") == "https://***@h/r?token=***&x=***"
    assert shown("a\nb") == "'a\\nb'"
    assert shown("x" * 200) == repr("x" * 97 + "…")
    assert shown(3) == "3"


def test_credentials_paths_and_addresses_are_known() -> None:
    assert has_credentials("https://me:s3cret@h/r")
    assert has_credentials("https://h/r?X-Amz-Signature=1")
    assert not has_credentials("ssh://git@h/r")
    assert not has_credentials("https://h/r?download=true")
    for path in ("/home/me/x", "file:///home/me/x", "C:\\Users\\me\\x", "/root/x", "/Users/me"):
        assert is_home_path(path), path
    assert not is_home_path("/opt/homes")
    assert is_windows_path("file:///D:/a/x.whl")
    assert is_windows_path("c:\\x")
    assert not is_windows_path("file:///a/x.whl")


def test_one_repository_has_one_key() -> None:
    spellings = (
        "https://github.com/Owner/Repo",
        "https://github.com/owner/repo.git",
        "https://www.github.com/owner/repo/",
        "git@github.com:owner/repo.git",
        "ssh://git@github.com:22/Owner/Repo.git",
        "https://token@github.com/owner/repo",
    )
    assert {repository_key(url) for url in spellings} == {"github.com/owner/repo"}
    assert repository_key("https://git.example.org/Owner/Repo") == "git.example.org/Owner/Repo"
    assert https_url("git@codeberg.org:o/r.git") == "https://codeberg.org/o/r.git"
    assert directory_name("git@github.com:o/ComfyUI-X.git") == "ComfyUI-X"
    assert directory_name("https://github.com/o/ComfyUI.Y/") == "ComfyUI.Y"


def test_package_names_and_versions() -> None:
    assert is_package_name("ruamel.yaml")
    assert not is_package_name("-e")
    assert not is_package_name("a b")
    assert not is_package_name("ﬁ")
    assert is_version("2.1.0+cu121")
    assert is_version("1!2.0.post1")
    assert not is_version("1.*")
    assert not is_version("\u0663.\u0661")
    assert not is_version("1.0\n")
    assert normal_name("Foo__Bar.baz") == "foo-bar-baz"


@given(st.text(st.sampled_from("aB1-_. é")) | st.text())
def test_names_of_packages_are_normalised_as_by_packaging(name: str) -> None:
    """Packaging costs more than the reading of a document may; a build step has none."""
    assert normal_name(name) == normalized(name) == canonicalize_name(name)
