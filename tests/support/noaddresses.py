"""Texts that look like addresses and are none: the library's parser raises for each."""

NO_ADDRESSES = (
    "https://[",
    "http://[::1",
    "https://[x]/y",
    "https://\u2100/x",
    "https://h\uff0fevil/x",
    "https://user:canary@[::1/x",
    "https://user:canary@h\uff0fx",
    "https://h:port/x",
    "https://user:canary",
    "https://h:99999/x.json",
    "ssh://git@[/x",
    "git://h:x/y",
)
