"""Properties: what is written reads the same; the richest form loses nothing; none escapes."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from comfykiln import environment as records
from comfykiln.documents import Kind, write
from comfykiln.documents.comfylock import format as comfylock
from comfykiln.documents.comfypack import format as comfypack
from comfykiln.documents.convert import convert
from comfykiln.documents.losses import losses
from comfykiln.documents.record import dump, load
from comfykiln.documents.snapshot import format as snapshot
from comfykiln.environment import Environment
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.requirements import line_of

QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

hexes = st.text("0123456789abcdef", min_size=40, max_size=40)
devices = re.compile(r"(?i)con|prn|aux|nul|com[0-9]|lpt[0-9]")  # refused as names of folders
words = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda word: not devices.fullmatch(word)
)
versions = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,3}){0,2}(\+cu[0-9]{3})?", fullmatch=True)
refs = st.one_of(st.none(), hexes, hexes.map(lambda entry: entry[:9]), words, st.just("v1.2.3"))
urls = st.builds(
    "https://{}/{}/{}{}".format,
    st.sampled_from(["github.com", "codeberg.org", "git.example.org"]),
    words,
    words.map(str.lower),
    st.sampled_from(["", ".git"]),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(texts, inner, max_size=2)),
    max_leaves=4,
)
unknown_keys = st.dictionaries(words.map(lambda entry: f"x_{entry}"), plain, max_size=2)
git_nodes = st.dictionaries(
    urls,
    st.builds(
        lambda pin, off, more: {"hash": pin, "disabled": off, **more},
        refs,
        st.booleans(),
        unknown_keys,
    ),
    max_size=4,
).filter(
    lambda nodes: len({url.removesuffix(".git").split("/")[-1] for url in nodes}) == len(nodes)
)
packages = words.map(lambda entry: f"{entry}1")
pips = st.dictionaries(
    st.one_of(st.builds("{}=={}".format, packages, versions), packages),
    st.just(""),
    max_size=5,
)
bodies = st.fixed_dictionaries(
    {
        "comfyui": refs,
        "git_custom_nodes": git_nodes,
        "cnr_custom_nodes": st.dictionaries(words, st.one_of(st.none(), versions), max_size=3),
        "file_custom_nodes": st.lists(
            st.builds(
                lambda name, off: {"filename": f"{name}.py", "disabled": off}, words, st.booleans()
            ),
            max_size=3,
            unique_by=lambda entry: entry["filename"].lower(),
        ),
        "pips": pips,
    }
)
models = st.lists(
    st.builds(
        lambda name, digest, more: {
            "model": name,
            "url": f"https://example.org/{name}",
            "paths": [{"path": f"models/vae/{name}.safetensors"}],
            "hashes": [{"hash": digest, "type": "SHA256"}],
            "type": "vae",
            **more,
        },
        words,
        hexes.map(lambda entry: f"{entry}{'0' * 24}"),
        unknown_keys,
    ),
    max_size=3,
)


def parsed(module: Any, document: Any, name: str) -> Environment:
    environment: Environment = module.parse(json.dumps(document).encode(), name).environment
    return environment


@QUICK
@given(bodies, unknown_keys)
def test_a_snapshot_survives_writing(body: dict[str, Any], more: dict[str, Any]) -> None:
    environment = parsed(snapshot, {**body, **more}, "s.json")
    written = write(environment, Kind.SNAPSHOT)
    assert snapshot.parse(written.data, "s.json").environment == environment
    assert snapshot.parse(snapshot.as_yaml(written).data, "s.yaml").environment == environment
    assert convert(environment, Kind.SNAPSHOT).losses == ()


@QUICK
@given(bodies, models, unknown_keys)
def test_a_comfy_lock_survives_writing(
    body: dict[str, Any], listed: list[Any], more: dict[str, Any]
) -> None:
    document = {"basic": {**more}, "custom_nodes": body, "models": listed, **more}
    environment = parsed(comfylock, document, "comfy-lock.json")
    written = write(environment, Kind.COMFYLOCK)
    assert comfylock.parse(written.data, written.filename).environment == environment


@QUICK
@given(
    st.lists(urls, max_size=4, unique_by=lambda url: url.split("/")[-1].removesuffix(".git")),
    hexes,
    pips,
)
def test_a_comfy_pack_survives_writing(
    listed: list[str], commit: str, pinned: dict[str, str]
) -> None:
    nodes = [{"url": url, "commit_hash": commit, "disabled": False} for url in listed]
    document = {"python": "3.12", "comfyui": commit, "custom_nodes": nodes}
    lines = "".join(f"{line}\n" for line in pinned)
    files = {"snapshot.json": json.dumps(document).encode(), "requirements.txt": lines.encode()}
    environment = comfypack.parse_files(files, "x").environment
    assert comfypack.reread(write(environment, Kind.COMFYPACK)) == environment


def _fields() -> dict[type, st.SearchStrategy[Any]]:
    """Strategies for the plain types of the records' fields."""
    return {
        str: texts,
        int: st.integers(-(2**53), 2**53),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bytes: st.binary(max_size=8),
    }


for kind, strategy in _fields().items():
    st.register_type_strategy(kind, strategy)

environments = st.builds(
    Environment,
    nodes=st.lists(st.from_type(records.Node), max_size=2).map(tuple),
    packages=st.lists(st.from_type(records.Package), max_size=2).map(tuple),
    models=st.lists(st.from_type(records.Model), max_size=1).map(tuple),
    workflows=st.lists(st.from_type(records.Workflow), max_size=1).map(tuple),
    torch=st.from_type(records.TorchSpec),
    resolution=st.from_type(records.Resolution),
    metadata=st.from_type(records.Metadata),
    system=st.from_type(records.SystemSpec),
    comfyui=st.from_type(records.ComfyUISpec),
    credentials=st.lists(st.from_type(records.Credential), max_size=1).map(tuple),
    attachments=st.lists(st.from_type(records.Attachment), max_size=1).map(tuple),
    platform_overrides=st.lists(st.from_type(records.PlatformOverride), max_size=1).map(tuple),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(environments)
def test_the_record_loses_nothing(environment: Environment) -> None:
    text = json.dumps(dump(environment))
    again = load(json.loads(text), "x")
    assert again == environment
    assert losses(environment, again) == ()


hostile = st.one_of(
    st.sampled_from(
        [
            "--upload-pack=touch pwned",
            "$(touch pwned)",
            "`touch pwned`",
            "x; touch pwned",
            "x\nRUN touch pwned",
            "ext::sh -c touch% pwned",
            "file:///etc/passwd",
            "../../etc/passwd",
            "-oProxyCommand=touch pwned",
            "--index-url=http://evil",
            "x\0y",
            "\u2028--pre",
            "\u202e",
            "%0a--pre",
        ]
    ),
    texts,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hostile, hostile, hostile, hostile, hostile)
def test_no_value_becomes_an_option_or_a_command(
    url: str, ref: str, name: str, pip: str, source: str
) -> None:
    """Whatever is let through is inert as an argument: no option, no transport, no second line."""
    document = {
        "comfyui": ref,
        "git_custom_nodes": {
            f"https://github.com/{url}": {"hash": ref},
            url: {"hash": ref, "name": name},
        },
        "cnr_custom_nodes": {name: ref},
        "file_custom_nodes": [{"filename": name}],
        "pips": {pip: "", f"{pip}==1": source, "fixed": source},
    }
    for chosen in (document, *({key: document[key]} for key in document)):
        try:
            environment = parsed(snapshot, chosen, "s.json")
        except FaultyDocumentError:
            continue
        _check_inert(environment)


def _check_inert(environment: Environment) -> None:
    for node in environment.nodes:
        arguments = [node.name, node.url, node.ref, node.commit, node.version, node.registry_id]
        for argument in arguments:
            assert not (argument or "").startswith("-")
            assert len((argument or "").splitlines()) <= 1
        assert "/" not in node.name
        assert node.name not in (".", "..")
        if node.url:
            assert node.url.startswith(("https://", "http://", "ssh://", "git://", "git@"))
    for package in environment.packages:
        line = line_of(package)
        assert len(line.splitlines()) == 1
        assert line.startswith("-e ") or not line.startswith("-")
        assert not any(word.startswith("--") for word in shlex.split(line, posix=False))
