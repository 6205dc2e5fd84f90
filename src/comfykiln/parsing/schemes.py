"""The schemes that the address of a model may have: one record each, and all that is said of it.

A new scheme is a record in `SCHEMES`. One whose addresses stand for addresses of a web server says
so in `web` and needs no code; only one with a protocol of its own needs a function in
`comfykiln.models.sources.find`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from comfykiln.parsing.values import MAX_URL, WEB, shown, url_problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.parsing.faults import Faults

Login = Literal["variable", "profile", "nothing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """One way to say where a model is.

    `form` is how people write it. `pattern` is a whole address with the scheme in small letters;
    its groups are the address's parts. `problem` is said of an address that it does not fit, and
    each of `before` (a pattern and what is said) is looked at first.
    `web` is the https address that is asked, with the parts in braces, "" where the address itself
    is asked or a function knows more. `login` is what `auth` names: an environment variable, a
    profile of S3, or nothing; `usual` the variable that is read where `auth` names none.
    `is_local` marks what means a file of the machine that wrote it.
    """

    name: str
    form: str
    pattern: re.Pattern[str]
    problem: str = "no address"
    before: tuple[tuple[re.Pattern[str], str], ...] = ()
    web: str = ""
    login: Login = "variable"
    usual: str = ""
    is_local: bool = False

    def parts(self, address: str) -> dict[str, str]:
        """Return the parts of an address that was checked. Raises `ValueError` for another."""
        match = self.pattern.fullmatch(lowered(address))
        if match is None:
            raise ValueError(address)
        return match.groupdict()


_HERE = r"(?:/|%2[Ff]|$)"
_S3 = r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{0,254})/(?P<key>.+)"
# A revision's slash is %2F as on the hub itself, but for its own refs/pr/1 and refs/convert/….
_HF = (
    rf"hf://(?!.*(?:[/@]|%2[Ff])\.{{1,2}}{_HERE})"
    r"(?P<repository>(?:datasets/|spaces/)?[\w.-]+(?:/[\w.-]+)?)"
    r"@(?P<revision>refs/(?:pr/\d+|convert/[\w.-]+)|(?!refs/)(?:[\w.-]|%2[Ff])+)"
    r"/(?P<path>(?:[^/@]+/)*[^/@]+)"
)

SCHEMES = (
    Scheme(
        name="s3",
        form="s3://bucket/key",
        pattern=re.compile(_S3),
        problem="no bucket or no key",
        login="profile",
    ),
    Scheme(
        name="hf",
        form="hf://owner/repo@commit/path",
        pattern=re.compile(_HF, re.ASCII),
        before=((re.compile(r".*@.*"), "no revision (write owner/repo@commit)"),),
        problem="no repository, revision or path",
        usual="HF_TOKEN",
    ),
    Scheme(
        name="civitai",
        form="civitai:VERSION",
        pattern=re.compile(r"civitai:(?:\d{1,15}@)?(?P<version>\d{1,15})", re.ASCII),
        problem="no number of a model version",
        usual="CIVITAI_API_TOKEN",
    ),
    Scheme(name="https", form="https://…", pattern=re.compile(r"https://.+")),
    Scheme(name="http", form="http://…", pattern=re.compile(r"http://.+")),
    Scheme(
        name="file",
        form="file:…",
        pattern=re.compile(r"file:(?>(?://localhost)?)/*[^/].*"),
        before=(
            (re.compile(r"file:(?!//(?!/|localhost(?:/|\Z))).*"), "a host (write file:///path)"),
        ),
        problem="no path",
        login="nothing",
        is_local=True,
    ),
)
BY_NAME = {scheme.name: scheme for scheme in SCHEMES}


def _listed(schemes: Iterable[Scheme]) -> str:
    """Return how addresses are written; the line that anyone can listen to is not suggested."""
    forms = ", ".join(scheme.form for scheme in schemes if scheme.name != "http")
    return " or ".join(forms.rsplit(", ", 1))


EXPECTED = _listed(SCHEMES)
EXPECTED_ANYWHERE = _listed(scheme for scheme in SCHEMES if not scheme.is_local)


def name_of(address: str) -> str:
    """Return the word before the first colon, in small letters."""
    return address.partition(":")[0].lower()


def lowered(address: str) -> str:
    """Return the address with its scheme in small letters: case means nothing there."""
    return f"{name_of(address)}{address[len(name_of(address)) :]}"


def scheme_of(address: str) -> Scheme | None:
    """Return the record of an address's scheme, None where it is not known."""
    return BY_NAME.get(name_of(address))


def asked_of(address: str) -> str:
    """Return the web address that is asked for a checked address of a scheme without a protocol."""
    scheme = BY_NAME[name_of(address)]
    parts = {name: quote(text) for name, text in scheme.parts(address).items()}
    return scheme.web.format(**parts) if scheme.web else address


def problem_of(address: str) -> tuple[str, str]:
    """Return the rule that an address of a model breaks and what is wrong, two "" for nothing."""
    scheme = scheme_of(address)
    if name_of(address) in WEB:
        return url_problem(address, WEB)
    if any(not letter.isprintable() for letter in address):
        return "url.control", "control characters"
    if scheme is None:
        return "url.transport", f"the scheme {name_of(address)!r} is not known"
    if len(address) > MAX_URL or address != address.strip():
        return "url.length", "white space around it, or too long"
    steps = (*scheme.before, (scheme.pattern, scheme.problem))
    wrong = (problem for form, problem in steps if not form.fullmatch(lowered(address)))
    problem = next(wrong, "")
    return ("url.format", problem) if problem else ("", "")


def is_local(address: str) -> bool:
    """Say whether the address means a file of the machine that wrote it."""
    scheme = scheme_of(address)
    return scheme is not None and scheme.is_local


def check_model_url(address: str, path: str, faults: Faults, *, local: bool = False) -> bool:
    """Add a fault where a document's address of a model is none that models may have.

    A file of the machine that wrote the document counts only where `local` says so: where its
    sha256 is known, so that nobody gets another file of the machine that reads it.
    """
    rule, problem = problem_of(address)
    if not rule and is_local(address) and not local:
        rule, problem = "url.transport", "a file of the machine that wrote this"
    if rule:
        faults.add(
            path,
            rule,
            f"{shown(address)}: {problem}",
            expected=EXPECTED if local else EXPECTED_ANYWHERE,
            remedy="use the https address",
        )
    return not rule
