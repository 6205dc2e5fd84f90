"""Every rule of the migration manifest: what breaks it, where that is told, what only is noted."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.manifests import changed, encoded

from comfykiln.documents.manifest import parse as manifest
from comfykiln.parsing.faults import FaultyDocumentError


def faults_of(document: Any) -> list[tuple[str, str]]:
    with pytest.raises(FaultyDocumentError) as caught:
        manifest.parse(encoded(document), "m.json")
    return [(fault.path, fault.rule) for fault in caught.value.records]


TORCH_VERSION = "$.system_info.torch_version"
POST_INSTALL = "$.custom_nodes[0].has_post_install"
FAULTS = [
    # F1
    ("schema_version", "1.1", "$.schema_version", "manifest.schema-version"),
    ("schema_version", 1.0, "$.schema_version", "manifest.schema-version"),
    ("schema_version", ..., "$", "manifest.schema-version"),
    # F2
    ("metadata/generated_at", 5, "$.metadata.generated_at", "manifest.type"),
    ("metadata/capture_duration_ms", -1, "$.metadata.capture_duration_ms", "manifest.minimum"),
    # F3
    *(
        ("system_info/python_version", text, "$.system_info.python_version", rule)
        for text, rule in (
            ("3.11", "manifest.python-version"),
            ("3.11.7\n", "manifest.python-version"),
            ("٣.11.7", "manifest.python-version"),
            (3, "manifest.python-version"),
        )
    ),
    ("system_info/python_version", ..., "$.system_info", "manifest.python-version"),
    # F4
    ("system_info/cuda_version", "12", "$.system_info.cuda_version", "manifest.cuda-version"),
    ("system_info/cuda_version", "12.1.1", "$.system_info.cuda_version", "manifest.cuda-version"),
    ("system_info/cuda_version", ..., "$.system_info", "manifest.cuda-version"),
    # F5
    (
        "system_info/torch_version",
        "newest",
        "$.system_info.torch_version",
        "manifest.torch-version",
    ),
    ("system_info/torch_version", ">=2", TORCH_VERSION, "manifest.torch-version"),
    # F6
    ("system_info/comfyui_version", "-x", "$.system_info.comfyui_version", "ref.dash"),
    ("system_info/comfyui_version", "a b", "$.system_info.comfyui_version", "ref.format"),
    # F7
    ("system_info/platform", "windows", "$.system_info.platform", "manifest.enum"),
    ("system_info/architecture", "sparc", "$.system_info.architecture", "manifest.enum"),
    # F8
    ("custom_nodes", ..., "$", "manifest.required"),
    ("custom_nodes", {}, "$.custom_nodes", "manifest.type"),
    # F9
    *(
        ("custom_nodes/0/name", name, "$.custom_nodes[0].name", rule)
        for name, rule in (
            ("../x", "name.separator"),
            ("..", "name.reserved"),
            ("-rf", "name.dash"),
            ("a\nb", "name.newline"),
            ("nul", "name.reserved"),
            ("a:b", "name.reserved"),
            ("what?", "name.reserved"),
            ("pack.", "name.reserved"),
            ("a" * 256, "name.length"),
            ("", "manifest.length"),
        )
    ),
    ("custom_nodes/1/name", "By-Git", "$.custom_nodes[1].name", "name.case"),
    ("custom_nodes/1/name", "by-git", "$.custom_nodes[1].name", "manifest.duplicate-node"),
    # F10
    (
        "custom_nodes/0/install_method",
        "svn",
        "$.custom_nodes[0].install_method",
        "manifest.install-method",
    ),
    # F11
    *(
        (f"custom_nodes/{index}/url", url, f"$.custom_nodes[{index}].url", rule)
        for index, url, rule in (
            (0, "ext::sh -c touch%20x", "url.transport"),
            (0, "ext::sh", "url.transport"),
            (0, "file:///etc", "url.transport"),
            (0, "-u", "url.dash"),
            (0, "ssh://-oProxyCommand=x/y", "url.dash"),
            (1, "git://github.com/a/b.tar.gz", "url.transport"),
            (1, "/srv/a.tar.gz", "url.transport"),
            (0, "https://github.com/o/r/tree/main", "url.format"),
            (0, "https://github.com/o/r#readme", "url.format"),
            (0, "https://github.com/", "url.format"),
            (2, "nodes/by-copy", "manifest.local-url"),
            (2, "file:///srv/nodes", "manifest.local-url"),
            (3, "--pre", "manifest.registry-id"),
            (3, "git://github.com/a/b", "url.transport"),
        )
    ),
    # F12
    ("custom_nodes/0/ref", "--upload-pack=x", "$.custom_nodes[0].ref", "ref.dash"),
    ("custom_nodes/0/ref", "a..b", "$.custom_nodes[0].ref", "ref.format"),
    ("custom_nodes/0/ref", "@", "$.custom_nodes[0].ref", "ref.format"),
    # F13, F14
    (
        "custom_nodes/0/has_post_install",
        "yes",
        "$.custom_nodes[0].has_post_install",
        "manifest.type",
    ),
    ("custom_nodes/0/has_requirements", 1, "$.custom_nodes[0].has_requirements", "manifest.type"),
    # F15, F16
    ("custom_nodes/0/fallback_url", "ext::x", "$.custom_nodes[0].fallback_url", "url.transport"),
    ("custom_nodes/0/install_order", 1.5, "$.custom_nodes[0].install_order", "manifest.type"),
    # F17
    *(
        (
            f"dependencies/packages/{name}",
            wanted,
            f"$.dependencies.packages{place or '.' + name}",
            rule,
        )
        for name, wanted, place, rule in (
            ("numpy", ">=1.0", "", "manifest.package-version"),
            ("numpy", "1.*", "", "manifest.package-version"),
            ("numpy", "1.0 ; x", "", "manifest.package-version"),
            ("numpy", "", "", "manifest.length"),
            ("numpy", 1, "", "manifest.type"),
            ("NumPy", "1.24.3", "", "manifest.duplicate-package"),
            ("--index-url", "1.0", '["--index-url"]', "manifest.package-name"),
            ("a b", "1.0", '["a b"]', "manifest.package-name"),
            ("a[b", "1.0", '["a[b"]', "manifest.package-name"),
        )
    ),
    ("dependencies", ..., "$", "manifest.required"),
    ("dependencies/packages", ..., "$.dependencies", "manifest.required"),
    # F18
    ("dependencies/pytorch/index_url", ..., "$.dependencies.pytorch", "manifest.required"),
    ("dependencies/pytorch/packages", ..., "$.dependencies.pytorch", "manifest.required"),
    (
        "dependencies/pytorch/index_url",
        "ftp://a/b",
        "$.dependencies.pytorch.index_url",
        "url.transport",
    ),
    (
        "dependencies/pytorch/packages/torch",
        "2.2.0",
        "$.dependencies.pytorch.packages.torch",
        "manifest.torch-mismatch",
    ),
    (
        "dependencies/pytorch/packages/torch",
        "2.1.0+cu118",
        "$.dependencies.pytorch.packages.torch",
        "manifest.torch-mismatch",
    ),
    (
        "dependencies/pytorch/index_url",
        "https://download.pytorch.org/whl/cu118",
        "$.dependencies.pytorch.index_url",
        "manifest.torch-index",
    ),
    # F19
    *(
        (f"dependencies/git_packages/0/{key}", value, f"$.dependencies.git_packages[0].{key}", rule)
        for key, value, rule in (
            ("url", "git://github.com/a/b", "url.transport"),
            ("url", "git+https://github.com/a/b", "url.transport"),
            ("url", "https://github.com/a/b#egg=c", "url.format"),
            ("ref", "a@b", "ref.format"),
            ("subdirectory", "../x", "manifest.subdirectory"),
            ("subdirectory", "/x", "manifest.subdirectory"),
            ("subdirectory", "a&egg=b", "manifest.subdirectory"),
            ("egg_name", "a b", "manifest.package-name"),
        )
    ),
    # F20, F21
    ("dependencies/editable/0/path", "--pre", "$.dependencies.editable[0].path", "manifest.path"),
    ("dependencies/editable/0/path", "a\nb", "$.dependencies.editable[0].path", "manifest.path"),
    ("dependencies/editable/0/path", "~/dev/x", "$.dependencies.editable[0].path", "manifest.path"),
    (
        "dependencies/local_packages/0/path",
        "https://h/six-1.16.0-py3-none-any.whl",
        "$.dependencies.local_packages[0].path",
        "manifest.path",
    ),
    (
        "dependencies/packages/opencv-python",
        "4.8.0.74",
        "$.dependencies.packages.opencv-python",
        "manifest.duplicate-package",
    ),
    (
        "dependencies/local_packages/0/path",
        "six",
        "$.dependencies.local_packages[0].path",
        "manifest.local-package",
    ),
    (
        "dependencies/local_packages/0/hash",
        "md5:00",
        "$.dependencies.local_packages[0].hash",
        "manifest.hash",
    ),
    # F22
    (
        "dependencies/index_urls/0",
        "--pre",
        "$.dependencies.index_urls[0]",
        "url.dash",
    ),
    # F23
    (
        "platform_overrides/win32/packages/windows-curses",
        ">2",
        "$.platform_overrides.win32.packages.windows-curses",
        "manifest.package-version",
    ),
    (
        "platform_overrides/linux-aarch64/exclude_packages/0",
        "a==1",
        "$.platform_overrides.linux-aarch64.exclude_packages[0]",
        "manifest.package-name",
    ),
    *(
        (
            f"platform_overrides/linux-aarch64/environment/{name}",
            value,
            f"$.platform_overrides.linux-aarch64.environment{place}",
            rule,
        )
        for name, value, place, rule in (
            ("PATH", "/x", ".PATH", "manifest.environment"),
            ("LD_PRELOAD", "x.so", ".LD_PRELOAD", "manifest.environment"),
            ("PYTHONPATH", "x", ".PYTHONPATH", "manifest.environment"),
            ("GIT_SSH_COMMAND", "touch x", ".GIT_SSH_COMMAND", "manifest.environment"),
            ("UV_DEFAULT_INDEX", "https://h/s", ".UV_DEFAULT_INDEX", "manifest.environment"),
            ("pip_index_url", "https://h/s", ".pip_index_url", "manifest.environment"),
            ("https_proxy", "http://h", ".https_proxy", "manifest.environment"),
            ("REQUESTS_CA_BUNDLE", "x", ".REQUESTS_CA_BUNDLE", "manifest.environment"),
            ("LANG", "x\nRUN y", ".LANG", "manifest.environment"),
            ("LANG", "x\u2028RUN y", ".LANG", "manifest.environment"),
            ("A;B", "x", '["A;B"]', "manifest.environment"),
            ("LANG", 1, ".LANG", "manifest.type"),
        )
    ),
]


@pytest.mark.parametrize(("path", "value", "place", "rule"), FAULTS)
def test_a_broken_rule_is_told_with_its_place(path: str, value: Any, place: str, rule: str) -> None:
    assert faults_of(changed(path, value)) == [(place, rule)]


ACCEPTED: list[tuple[str, Any, tuple[str, ...]]] = [
    ("system_info/torch_version", "2.1.0", ()),
    ("system_info/torch_version", "2.1+cu121", ()),
    ("custom_nodes/1/url", "https://github.com/o/r", ("manifest.archive-url",)),
    ("custom_nodes/1/url", "https://api.github.com/repos/o/r/tarball/main", ()),
    ("custom_nodes/1/url", "https://codeload.github.com/o/r/tar.gz/main", ()),
    ("system_info/comfyui_version", "abc1234", ()),
    ("system_info/comfyui_version", "master", ()),
    ("system_info/cuda_version", "11.8", ("manifest.cuda-mismatch",)),
    ("system_info/platform", None, ("manifest.empty",)),
    ("custom_nodes/0/ref", None, ("manifest.empty",)),
    ("custom_nodes/0/install_order", None, ("manifest.empty",)),
    ("custom_nodes/0/url", "git@github.com:example-nodes/by-git.git", ()),
    ("custom_nodes/0/url", "git://example.org/by-git.git", ()),
    ("custom_nodes/1/ref", "main", ("manifest.unused-ref",)),
    ("custom_nodes/2/url", "C:\\nodes\\by-copy", ()),
    ("dependencies/pytorch", None, ("manifest.empty",)),
    ("dependencies/git_packages", [], ("manifest.empty",)),
    ("dependencies/git_packages/0/url", "git@github.com:example/private.git", ()),
    ("dependencies/packages/torch", "2.1.0", ("manifest.torch-in-packages",)),
    ("platform_overrides/freebsd", {"packages": {"a": "1"}}, ("manifest.platform",)),
    ("custom_nodes/0/url", f"https://github.com/{'a' * 481}", ()),
    ("custom_nodes/0/url", f"https://github.com/{'a' * 482}", ("manifest.long-url",)),
    ("future", {"x": [1]}, ("manifest.unknown-member",)),
    ("system_info/rocm_version", "6.4", ("manifest.unknown-member",)),
    ("custom_nodes/0/colour", "red", ("manifest.unknown-member",)),
]


@pytest.mark.parametrize(("path", "value", "rules"), ACCEPTED)
def test_what_is_accepted_and_what_is_said_of_it(
    path: str, value: Any, rules: tuple[str, ...]
) -> None:
    document = changed(path, value)
    notes = manifest.parse(encoded(document), "m.json").notes
    assert tuple(note.rule for note in notes if note.rule != "manifest.host-path") == rules
