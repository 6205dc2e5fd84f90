r"""The one gate out: what every text passes before a person, a log, a receipt or a label gets it.

Pure functions. Secrets become `***`, and characters that drive a terminal, turn text around or
begin a line of their own are spelt as JSON spells them (`\u001b`), so that JSON stays JSON and
keeps its values. What was through the gate goes through it again unchanged.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STARS = "***"
SHORTEST = 8
"""Characters that a variable's value must have to be taken for a secret: `1` or `true` is none."""
# fmt: off
HARMLESS = frozenset({
    "arch", "archive", "at", "blake3", "branch", "commit", "dl", "download", "egg", "fbclid",
    "file", "file_name", "filename", "format", "fp", "id", "lang", "limit", "limits", "md5",
    "modelversionid", "name", "offset", "os", "page", "path", "per_page", "plain", "platform",
    "pre", "raw", "ref", "ref_type", "release", "rev", "revision", "sha1", "sha256", "sha512",
    "size", "sort", "style", "subdirectory", "tab", "tag", "type", "v", "ver", "version",
    "versionid",
})
# fmt: on
"""Members of a query or fragment that are shown; every other one may be a secret."""

# C0 but tab and newline, DEL, C1; what begins a line; what turns or hides text; half characters.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
# `::name` and `##[name]` are commands to the runner of GitHub Actions, however far they stand in.
_RUNNER = re.compile(r"(?m)^(?P<before>[ \t]*):(?=:[A-Za-z])|(?P<hash>##)\[(?=[A-Za-z])")
# What follows `//`, also where JSON writes it `\/\/`; a `\"` of JSON ends it, other escapes do not.
_ADDRESS = re.compile(r'((?<=:)[\\/]+|[\\/]{2,})((?:[^\s"<>`\\]|\\[^\s"])+)')
_PLACEHOLDER = r"\$\{\w+\}"
_PLACEHOLDERS = re.compile(rf"{_PLACEHOLDER}(?::{_PLACEHOLDER})?")
_LOGIN = re.compile(r"[^/?#]*@")
# No port follows the colon, so a password does, whatever is in it: only a JSON text's `"` ends it.
_ODD_LOGIN = re.compile(
    r'(?:(?<=[\\/][\\/])|(?<=:[\\/]))[^\s/?#:@"<>`\\\[]*:(?!\d{0,5}(?:[/?#"\s\\]|\Z))'
    rf'(?!{_PLACEHOLDER}@)(?:[^\n@"\\]|\\.|"(?![\s,:\]}}]|\Z)){{1,300}}@(?:[^\s@/?#"\\]{{0,300}}@)*'
)
_BARE_LOGIN = re.compile(
    r'(?<![\w/.+~%-])[\w.+~%-]{1,100}:[^\s/@"]{1,300}@(?!sha\d+:)(?=[\w-]+(?:\.[\w-]+)+[/:]|[\w.-]+:\d)'
)
_MEMBER = re.compile(r"(?P<sign>[?&;#])(?P<name>[^?&;#=]*)(?P<value>=[^?&;#]*)?")
_QUERY = re.compile(r'(?<=\S)\?[\w.%~-]+=[^\s"<>`\\]*')
# The same where an address was quoted into another one.
_QUOTED_LOGIN = re.compile(r'(?i)(//|%2f%2f)(?:(?!%2f)[^\s/?#@"<>`\\])*%40')
_QUOTED_MEMBER = re.compile(
    r'(?i)(?P<sign>%3f|%26)(?P<name>[\w.~-]+)%3d(?P<value>(?:(?!%26)[^\s&"<>`\\])*)'
)
_SECRET_MEMBER = re.compile(
    r"(?i)(?P<name>[?&;#](?:[\w.%-]{0,40}(?:token|secret|passw|api_?key|signature|credential)[\w.%-]{0,40}"
    rf'|key|sig|auth)=)(?!=|{_PLACEHOLDER})[^\s&;#"<>`\\]+'
)
_HEADER = re.compile(
    r"(?i)\b(?P<name>(?:proxy-)?authorization|x-api-key|private-token|(?:set-)?cookie"
    r"|x-amz-security-token)(?P<sign>[\"']?\s*[:=]\s*[\"']?)"
    r"[^\s\"'\\][^\n\"'\\]*"
)
_HEADER_WORDS = ("authorization", "x-api-key", "private-token", "cookie", "x-amz-security-token")
"""What `_HEADER` looks for: a search for each is cheaper than one for their pattern."""
_SCHEME = re.compile(r"\b(?P<name>[Bb]earer|[Bb]asic) (?=[A-Za-z+/=_.~-]*\d)[\w+/=.~-]{16,}")
_SECRET_NAME = re.compile(
    r"(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?|AUTH|PAT|(^|_)PW|(^|[_I])KEY)\Z"
)
_PASSWORD = re.compile(r"//[^/@\s:]*:(?P<password>[^/@\s]+)@")


def fit(text: str, secrets: Sequence[str] = ()) -> str:
    """Return `text` fit for a person: secrets masked, dangerous characters spelt out."""
    once = masked(text, secrets)
    done = spelt(once)
    # What is spelt out may join what stood apart: an address goes on behind a line's end.
    return done if done == once else masked(done, secrets)


def fit_data(value: Any, secrets: Sequence[str] = ()) -> Any:
    """Return JSON's types with every string and key masked; two keys never become one."""
    if isinstance(value, str):
        return masked(value, secrets)
    if isinstance(value, dict):
        return _fit_members(value, secrets)
    if isinstance(value, list | tuple):
        return [fit_data(entry, secrets) for entry in value]
    return value


def masked(text: str, secrets: Sequence[str] = ()) -> str:
    """Return `text` with the logins and secret members of its addresses, and `secrets`, as stars.

    `secrets` are what `secrets_of` returns: longer ones before those that they hold.
    """
    for secret in secrets:
        text = text.replace(secret, STARS)
    if "@" in text:
        text = _ODD_LOGIN.sub(f"{STARS}@", text)
    if "/" in text or "\\" in text:
        text = _ADDRESS.sub(_masked_address, text)
    if "%" in text:
        text = _QUOTED_LOGIN.sub(rf"\1{STARS}%40", text)
        text = _QUOTED_MEMBER.sub(_masked_quoted_member, text)
    if "?" in text:
        text = _QUERY.sub(_masked_query, text)
    if "@" in text:
        text = _BARE_LOGIN.sub(f"{STARS}@", text)
    if "=" in text:
        text = _SECRET_MEMBER.sub(rf"\g<name>{STARS}", text)
    return _masked_headers(text)


def _masked_headers(text: str) -> str:
    lower = text.lower()
    if any(word in lower for word in _HEADER_WORDS):
        text = _HEADER.sub(rf"\g<name>\g<sign>{STARS}", text)
    if "bearer " in lower or "basic " in lower:
        text = _SCHEME.sub(rf"\g<name> {STARS}", text)
    return text


def spelt(text: str) -> str:
    """Return `text` with what drives a terminal or a CI runner spelt out; tab and newline stay."""
    if not text.isprintable():
        text = _CONTROL.sub(_spelt_character, text)
    return _RUNNER.sub(_spelt_command, text) if "::" in text or "##[" in text else text


def one_line(text: str) -> str:
    """Return a stranger's words as one line, so that they cannot begin one of their own."""
    first, *more = text.split("\n")
    return " ".join([first.rstrip(), *filter(None, map(str.strip, more))]) if more else text


def bare_address(url: str) -> str:
    """Return an address without its login, query and fragment, also when it is none."""
    return re.split("[?#]", masked(url), maxsplit=1)[0].replace(f"{STARS}@", "")


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secret values among variables, longest first, also as addresses quote them."""
    found: set[str] = set()
    for name, value in environ.items():
        if _SECRET_NAME.search(name.upper()):
            found |= {value, value.strip(), quote(value, safe="")}
        elif "@" in value:
            for match in _PASSWORD.finditer(value):
                found |= {match["password"], unquote(match["password"])}
    return tuple(sorted(_long(found), key=lambda text: (-len(text), text)))


def _long(values: Iterable[str]) -> Iterable[str]:
    return (value for value in values if len(value) >= SHORTEST)


def _fit_members(value: dict[Any, Any], secrets: Sequence[str]) -> dict[Any, Any]:
    done: dict[Any, Any] = {}
    for key, entry in value.items():
        name = base = masked(key, secrets) if isinstance(key, str) else key
        number = 1
        while name in done:
            number += 1
            name = f"{base} ({number})"
        done[name] = fit_data(entry, secrets)
    return done


def _masked_address(match: re.Match[str]) -> str:
    slashes, text = match.groups()
    if "@" in text and (login := _LOGIN.match(text)) and not _is_placeholder(login[0][:-1]):
        text = f"{STARS}@{text[login.end() :]}"
    return slashes + (_MEMBER.sub(_masked_member, text) if _has_members(text) else text)


def _has_members(text: str) -> bool:
    return "?" in text or "#" in text or ";" in text


def _masked_member(match: re.Match[str]) -> str:
    sign, name, value = match["sign"], match["name"], match["value"]
    if value is None:  # `?raw`, `#readme`; what follows `?` alone may be a token as well
        shown = sign != "?" or not name or name.lower() in {*HARMLESS, STARS}
        return match[0] if shown else f"{sign}{STARS}"
    is_marker = sign == ";" and value.startswith("==")  # `;sys_platform=='linux'` of a requirement
    known = name.lower() in HARMLESS or is_marker
    shown = known or not value[1:] or _is_placeholder(value[1:])
    return match[0] if shown else f"{sign}{name}={STARS}"


def _masked_query(match: re.Match[str]) -> str:
    return _MEMBER.sub(_masked_member, match[0])


def _masked_quoted_member(match: re.Match[str]) -> str:
    shown = match["name"].lower() in HARMLESS
    return match[0] if shown else f"{match['sign']}{match['name']}%3D{STARS}"


def _is_placeholder(text: str) -> bool:
    """Tell whether a text is made of `${NAME}` alone, which names a secret and is none."""
    return _PLACEHOLDERS.fullmatch(text) is not None


def _spelt_character(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _spelt_command(match: re.Match[str]) -> str:
    return "##\\u005b" if match["hash"] else f"{match['before']}\\u003a"
