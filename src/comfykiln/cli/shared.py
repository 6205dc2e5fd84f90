"""The options that several tasks have: each written once, for the records of `options`."""

from __future__ import annotations

from typing import Any

from comfykiln.cli.fields import option, place


def as_json() -> Any:
    """Return the option that asks for JSON."""
    return option("print the result as JSON, for programs", default=False)


def image(unset: str = "complete") -> Any:
    """Return the option that names the image; `unset` says what counts without it."""
    return option("the image, by the name of its folder below services/comfy", unset=unset)


def git_ref() -> Any:
    """Return the option that names the revision of a git repository."""
    return option("the branch, tag or commit, where it is a git repository", unset="its HEAD")


def git_mirror() -> Any:
    """Return the option that names a folder of git repositories to ask first."""
    return option(
        "a folder of git repositories that is asked first, laid out as HOST/OWNER/NAME.git",
        unset="each repository's own address",
    )


def ca_bundle() -> Any:
    """Return the option that names a file of certificates to trust."""
    return option(
        "a file of the certificates to trust", unset="those that this machine's settings name"
    )


def document() -> Any:
    """Return the place of the document on the command line."""
    return place("the document: a file, a folder or an https address")


def folder() -> Any:
    """Return the option that names the folder of ComfyUI in what is looked at."""
    return option("the folder that ComfyUI lies in there", default="", unset="it is looked for")


def out() -> Any:
    """Return the option that names the file to write."""
    return option("the file to write", unset="standard output")


def version(what: str) -> Any:
    """Return the option for the version of `what` that the document may not name."""
    return option(
        f"the version of {what}, where the document names none", unset="that of the document"
    )


def platforms() -> tuple[str, ...]:
    """Return the platforms of manifests."""
    from comfykiln.documents.manifest.rules import PLATFORMS  # noqa: PLC0415  # one task of many

    return PLATFORMS


def kinds() -> tuple[str, ...]:
    """Return the kinds that can be written."""
    from comfykiln.documents.formats import writable  # noqa: PLC0415  # one task of many

    return tuple(writable())
