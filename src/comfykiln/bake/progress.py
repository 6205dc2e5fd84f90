"""Turn BuildKit's plain progress into steps that a person can follow."""

from __future__ import annotations

import re
from collections import deque

from comfykiln.system import console

# `#7 [torch 1/1] RUN …`, `#7 CACHED`, `#7 DONE 12.3s`, `#7 ERROR: …`, `#7 0.123 some output`
LINE = re.compile(r"#(?P<id>\d+) (?P<rest>.*)")
STAGE = re.compile(
    r"\[(?:(?P<target>[\w-]+) )?(?P<stage>[\w-]+) +(?P<number>\d+)/(?P<of>\d+)\] (?P<what>.*)"
)
QUIET = re.compile(
    r"\[internal\]|\[context |\[auth\]|resolve image config|transferring|sha256:|resolve "
)
KEPT_LINES = 60


class BuildProgress:
    """Follow one `docker buildx` run line by line; `cached` and `run` count finished steps."""

    def __init__(self, *, verbose: bool = False) -> None:
        self.cached = 0
        self.run = 0
        self.failed_step = ""
        self._verbose = verbose
        self._names: dict[str, str] = {}
        self._tails: dict[str, deque[str]] = {}

    def __call__(self, line: str) -> None:
        """Take one line of `--progress=plain`."""
        match = LINE.match(line)
        if match is None:
            return
        number, rest = match["id"], match["rest"]
        if number not in self._names:
            self._names[number] = _title(rest)
            if rest.startswith("exporting "):
                # The layers of a first build take minutes, in which BuildKit says nothing more.
                console.note(f"{rest}: started")
            return
        self._event(number, rest)

    def failure(self) -> list[str]:
        """Return the last lines of the step that failed, without its number and clock."""
        return list(self._tails.get(self.failed_step, ()))

    def failed_name(self) -> str:
        """Return the name of the step that failed, empty when none did."""
        return self._names.get(self.failed_step, "")

    def _event(self, number: str, rest: str) -> None:
        name = self._names[number]
        if rest == "CACHED":
            self.cached += bool(name)
        elif rest.startswith("DONE"):
            self._done(name, rest.removeprefix("DONE").strip())
        elif rest.startswith("ERROR"):
            self.failed_step = number
            self._keep(number, rest)
        elif re.match(r"\d+\.\d+ ", rest):
            text = rest.partition(" ")[2]
            self._keep(number, text)
            if self._verbose or text.startswith(("kiln:", "+ ")):
                console.note(f"{name}: {text}")
        elif STAGE.search(rest) and not name:
            self._names[number] = _title(rest)

    def _done(self, name: str, seconds: str) -> None:
        if name:
            self.run += 1
            console.note(f"{name}: {seconds}")

    def _keep(self, number: str, text: str) -> None:
        self._tails.setdefault(number, deque(maxlen=KEPT_LINES)).append(text)


def _title(rest: str) -> str:
    """Return a short name of a step, empty for one that tells a person nothing."""
    if QUIET.search(rest):
        return ""
    match = STAGE.search(rest)
    if match is None:
        return rest
    what = match["what"].split()
    source = next((word for word in what if word.startswith("--from=")), "")
    return f"{match['stage']} {match['number']}/{match['of']} {what[0]} {source}".strip()
