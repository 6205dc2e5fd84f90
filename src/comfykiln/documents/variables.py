"""The environment variables that a document may set: none that decides what runs, or from where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from comfykiln.parsing.values import shown

if TYPE_CHECKING:
    from comfykiln.parsing.faults import Faults

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RUNS_CODE = re.compile(
    r"(?i)PATH|(LD|DYLD|GIT)_.*|PYTHON(PATH|HOME|STARTUP|USERBASE|BREAKPOINT|WARNINGS|INSPECT)"
    r"|BASH_ENV|ENV|IFS|SHELLOPTS|HOME|SSH_ASKPASS|PERL5(OPT|LIB|DB)|RUBYOPT|NODE_OPTIONS"
)
_LEADS_ELSEWHERE = re.compile(
    r"(?i)(UV|PIP)_.*|(ALL|FTP|HTTPS?|NO)_PROXY|(SSL|CURL|REQUESTS)_.*(CERT|CA).*|CURL_HOME|NETRC"
)
"""What decides from where the commands fetch, and whom they trust."""


def check_variable(name: str, value: Any, path: str, faults: Faults) -> None:
    """Check an environment variable: a plain name, on one line, changing no search path."""
    if not _VARIABLE.fullmatch(name):
        problem = f"{shown(name)} is no name of an environment variable"
        remedy = "use letters, digits and underscores"
    elif _RUNS_CODE.fullmatch(name):
        problem = f"{name} decides which programs and libraries run"
        remedy = "remove it: a document may not set it"
    elif _LEADS_ELSEWHERE.fullmatch(name):
        problem = f"{name} decides where packages and repositories come from"
        remedy = "remove it: this machine's own settings count; indexes are index_urls"
    elif isinstance(value, str) and re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        problem = f"the value of {name} holds a newline or control character"
        remedy = "write it on one line"
    else:
        return
    expected = "a variable that changes no search path and no source"
    faults.add(path, "manifest.environment", problem, expected=expected, remedy=remedy)
