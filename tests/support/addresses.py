"""Addresses of models as they may be, by scheme: revisions, nested paths, queries, any letters."""

from __future__ import annotations

from urllib.parse import quote

import hypothesis.strategies as st

_letters = st.characters(categories=["L", "N"], include_characters="%+~_-.() ")
names = st.text(_letters, min_size=1, max_size=12).map(lambda text: f"m{text}z")
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
words = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
revisions = st.one_of(
    st.text("0123456789abcdef", min_size=40, max_size=40),
    words,
    st.sampled_from(["v1.0", "refs/pr/7", "refs/convert/parquet", "feature%2Fnew%2fer"]),
)
queries = st.one_of(
    st.just(""),
    st.builds("?v={}&download={}".format, words, names.map(quote)),
)
_cases = st.sampled_from([str.lower, str.upper, str.title])


def _cased(scheme: str, rest: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda case, text: f"{case(scheme)}:{text}", _cases, rest)


_web = st.builds(
    "//{}{}/{}{}".format,
    st.sampled_from(["host.example", "127.0.0.1", "a-b.host.example"]),
    st.sampled_from(["", ":8443"]),
    st.one_of(paths, paths.map(quote)),
    queries,
)
_hub = st.builds(
    "//{}{}@{}/{}".format,
    st.sampled_from(["", "datasets/", "spaces/"]),
    st.one_of(words, st.builds("{}/{}".format, words, words)),
    revisions,
    paths,
)
_civitai = st.integers(1, 10**9)
BY_SCHEME = {
    "https": _cased("https", _web),
    "http": _cased("http", _web),
    "s3": _cased("s3", st.builds("//{}/{}".format, words, paths)),
    "hf": _cased("hf", _hub),
    "civitai": _cased(
        "civitai", st.one_of(_civitai.map(str), st.builds("{}@{}".format, _civitai, _civitai))
    ),
    "file": _cased(
        "file",
        st.one_of(paths, paths.map("///{}".format), paths.map("//localhost/{}".format)),
    ),
}
addresses = st.one_of(*BY_SCHEME.values())
