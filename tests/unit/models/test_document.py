"""models.yaml: what it says, and every fault at once with its place."""

from __future__ import annotations

import pytest

from comfykiln.models.document import digest_of, parse
from comfykiln.models.records import ModelEntry, ModelSource
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.schemes import EXPECTED

SHA = "ab" * 32
COMMIT = "462165984030d82259a11f4367a4eed129e94a7b"
WHOLE = f"""
models:
  - name: SDXL base
    destination: checkpoints/sd_xl_base_1.0.safetensors
    criticality: flexible
    sha256: {SHA.upper()}
    size: 6938078334
    auth: TEAM_TOKEN
    sources:
      - s3://team-models/checkpoints/sd_xl_base_1.0.safetensors
      - url: s3://other/key
        provider: Cloudflare R2
        account_id: abc123
      - url: s3://third/key
        profile: team b2
      - hf://stabilityai/stable-diffusion-xl-base-1.0@{COMMIT}/sd_xl_base_1.0.safetensors
      - civitai:128078
      - url: https://models.example/x.safetensors
        auth: OTHER_TOKEN
      - file:/mnt/models/x.safetensors
  - name: old upscaler
    destination: upscale_models/4x.pth
    allow_pickle: it exists in no other format
"""


def faults_of(text: str) -> list[str]:
    with pytest.raises(FaultyDocumentError) as caught:
        parse(text.encode(), "models.yaml")
    return list(caught.value.faults)


def one(**fields: str) -> str:
    lines = {"name": "a", "destination": "vae/a.safetensors"} | fields
    return "models:\n  - " + "\n    ".join(f"{key}: {value}" for key, value in lines.items())


def test_everything_that_can_be_said_is_read() -> None:
    assert parse(WHOLE.encode(), "models.yaml") == (
        ModelEntry(
            name="SDXL base",
            destination="checkpoints/sd_xl_base_1.0.safetensors",
            criticality="flexible",
            sha256=SHA,
            size=6938078334,
            sources=(
                ModelSource(url="s3://team-models/checkpoints/sd_xl_base_1.0.safetensors"),
                ModelSource(url="s3://other/key", provider="Cloudflare R2", account_id="abc123"),
                ModelSource(url="s3://third/key", auth="team b2"),
                ModelSource(
                    url=f"hf://stabilityai/stable-diffusion-xl-base-1.0@{COMMIT}"
                    "/sd_xl_base_1.0.safetensors",
                    auth="TEAM_TOKEN",
                ),
                ModelSource(url="civitai:128078", auth="TEAM_TOKEN"),
                ModelSource(url="https://models.example/x.safetensors", auth="OTHER_TOKEN"),
                ModelSource(url="file:/mnt/models/x.safetensors"),
            ),
        ),
        ModelEntry(
            name="old upscaler",
            destination="upscale_models/4x.pth",
            criticality="required",
            pickle_reason="it exists in no other format",
        ),
    )


def test_every_fault_is_told_at_once_with_its_place() -> None:
    text = """
models:
  - name: a
    destination: ../etc/passwd
    sources: [s3://bucket, ftp://x/y, "https://me:pass@host/x", hf://owner/repo/file]
    sha256: abc
  - destination: /app/models/vae/b.safetensors
    size: -1
    auth: hf_abcdefghijklmnopqrstuvwxyz
  - name: a
    destination: loras/c.ckpt
    colour: red
"""
    assert faults_of(text) == [
        (
            "$.models[0].destination: '..': no name of a folder; expected one folder or file name; "
            "use letters, digits, dots, dashes and underscores [name.reserved]"
        ),
        (
            "$.models[0].sha256: 'abc'; expected 64 hex digits; run `openssl dgst -sha256 FILE`, "
            "or leave it out: models.lock then records it [models.pattern]"
        ),
        (
            f"$.models[0].sources[0]: 's3://bucket': no bucket or no key; expected {EXPECTED} "
            "[models.source]"
        ),
        (
            "$.models[0].sources[1]: 'ftp://x/y': the scheme 'ftp' is not known; expected "
            f"{EXPECTED} [models.source]"
        ),
        (
            "$.models[0].sources[2]: 'https://***@host/x' holds a credential; expected an address "
            "without one; put it into an environment variable and name that in `auth` "
            "[models.credential]"
        ),
        (
            "$.models[0].sources[3]: 'hf://owner/repo/file': no revision (write "
            f"owner/repo@commit); expected {EXPECTED} [models.source]"
        ),
        "$.models[1]: the key `name` is missing; add `name` [models.required]",
        (
            "$.models[1].auth: this looks like a credential itself; expected the name of an "
            "environment variable or of a profile; revoke it if it was committed; then name the "
            "variable that holds the new one [models.credential]"
        ),
        (
            "$.models[1].destination: '/app/models/vae/b.safetensors': it is not relative to "
            "/app/models; expected folder/file, such as checkpoints/x.safetensors "
            "[models.destination]"
        ),
        "$.models[1].size: -1; expected at least 0 [models.minimum]",
        "$.models[2].colour: the key 'colour' is unknown; remove it [models.unknown-key]",
        (
            "$.models[2].destination: 'loras/c.ckpt' is a pickle format, which can run code when "
            "it is loaded; expected a safetensors or GGUF file; take the safetensors file of this "
            "model, or add `allow_pickle: the reason` [models.pickle]"
        ),
        (
            "$.models[2].name: 'a' is the name of $.models[0] too; give each model a name of its "
            "own [models.duplicate]"
        ),
    ]


@pytest.mark.parametrize(
    ("destination", "rule"),
    [
        ("vae/../../x.safetensors", "name.reserved"),
        ("~/x.safetensors", "models.destination"),
        ("x.safetensors", "models.destination"),
        ("models/vae/x.safetensors", "models.destination"),
        (r"vae\\x.safetensors", "models.destination"),
        ("vae/.wh.x", "models.destination"),
        ("vae//x.safetensors", "name.empty"),
        ("vae/x.safetensors/", "name.empty"),
        ("vae/con.safetensors", "name.reserved"),
        ("vae/-x.safetensors", "name.dash"),
        (r'"vae/a\x07.safetensors"', "name.newline"),
        (r'"vae/a\0.safetensors"', "reading.nul"),
        ("vae/\u202ex.safetensors", "name.newline"),
        ("vae/" + "x" * 256, "name.length"),
        ("vae/what?.safetensors", "models.destination"),
        ('"vae/a:b.safetensors"', "models.destination"),
        ("vae/x.safetensors.", "models.destination"),
        ("va./x.safetensors", "models.destination"),
    ],
)
def test_a_hostile_destination_is_refused(destination: str, rule: str) -> None:
    assert [fault.rpartition("[")[2] for fault in faults_of(one(destination=destination))] == [
        f"{rule}]"
    ]


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ("vae/a.safetensors", "'vae/a.safetensors' is taken at $.models[0].destination"),
        ("vae/A.safetensors", "'vae/A.safetensors' differs from 'vae/a.safetensors' by case only"),
        ("VAE/a.safetensors", "'VAE/a.safetensors' differs from 'vae/a.safetensors' by case only"),
        ("vae/a.safetensors/b", "'vae/a.safetensors/b' lies below 'vae/a.safetensors', a model"),
    ],
)
def test_two_models_never_share_a_place(second: str, problem: str) -> None:
    text = one() + f"\n  - name: b\n    destination: {second}\n"
    assert faults_of(text) == [
        (
            f"$.models[1].destination: {problem}; expected one place for each model, on every file "
            "system; change or remove one of them [models.duplicate]"
        )
    ]


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("http://models.example/x", "models.open-transport"),
        ("https://models.example/x?token=abc", "models.credential"),
        ("https://", "url.format"),
        ("hf://owner/repo@main/../x", "models.source"),
        ("hf://owner/repo@main/", "models.source"),
        ("civitai:abc", "models.source"),
        ("file://server/share/x", "models.source"),
        ("file:", "models.source"),
        ("relative/path", "models.source"),
        ("javascript:alert(1)", "models.source"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(source: str, rule: str) -> None:
    found = faults_of(one(sources=f'["{source}"]'))
    assert [fault.rpartition("[")[2] for fault in found] == [f"{rule}]"]


def test_an_open_line_is_allowed_for_a_pinned_file_and_for_this_machine() -> None:
    parse(one(sources="[http://models.example/x]", sha256=SHA).encode(), "models.yaml")
    parse(one(sources="[http://127.0.0.1:9000/x]").encode(), "models.yaml")


def test_what_leads_to_a_source_fits_its_scheme() -> None:
    text = """
models:
  - name: a
    destination: vae/a.safetensors
    sources:
      - {url: "https://host/x", provider: MinIO, auth: "two words"}
      - {url: "s3://b/k", profile: p, region: eu-west-1}
      - {url: "s3://b/k"}
"""
    assert [fault.partition(";")[0] for fault in faults_of(text)] == [
        "$.models[0].sources[0].auth: 'two words' cannot be the name of an environment variable",
        "$.models[0].sources[0].provider: `provider` leads to an S3 store, not to 'https://host/x'",
        "$.models[0].sources[1]: the profile 'p' says by itself where it leads to",
        "$.models[0].sources[2]: 's3://b/k' twice",
    ]


def test_the_digest_is_that_of_the_meaning() -> None:
    first = parse(one(criticality="required").encode(), "models.yaml")
    same = parse(("# a comment\n" + one()).encode(), "models.yaml")
    other = parse(one(criticality="optional").encode(), "models.yaml")
    assert digest_of(first) == digest_of(same) != digest_of(other)
    assert digest_of(first).startswith("sha256:")


def test_the_endpoint_of_a_source_is_an_address_without_a_credential() -> None:
    text = """
models:
  - name: a
    destination: vae/a.safetensors
    sources:
      - {url: "s3://b/k", endpoint: "https://me:pass@minio.example"}
      - {url: "s3://b/l", endpoint: minio.example}
      - {url: "s3://b/m", endpoint: "http://127.0.0.1:9000"}
"""
    assert faults_of(text) == [
        (
            "$.models[0].sources[0].endpoint: 'https://***@minio.example' holds a credential; "
            "expected an address without one; put the keys into a profile, or where the AWS chain "
            "finds them [models.credential]"
        ),
        (
            "$.models[0].sources[1].endpoint: 'minio.example': the scheme (none) is not allowed; "
            "expected https://… or http://…; use the https address [url.transport]"
        ),
    ]


def test_a_repository_without_an_owner_is_no_credential() -> None:
    text = one(sources=f'["hf://gpt2@{COMMIT}/model.safetensors"]')
    (entry,) = parse(text.encode(), "models.yaml")
    assert [source.url for source in entry.sources] == [f"hf://gpt2@{COMMIT}/model.safetensors"]
    assert "holds a credential" in faults_of(one(sources='["hf://o/r@main/x?token=abc"]'))[0]
