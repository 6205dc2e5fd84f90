"""What apt may do is judged by release: plans as apt-get 2.4 to 2.9 prints them."""

from __future__ import annotations

import pytest

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt
from comfykiln.setup.apt_plan import Change, own_releases, read_plan, refusals
from comfykiln.setup.engine import FROM_TRIXIE, IN_USE

BOOKWORM = """\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 -10 http://a.example/debian trixie/main amd64 Packages
     release v=13.8,o=Debian,a=stable,n=trixie,l=Debian,c=main,b=amd64
     origin a.example
 100 http://a.example/debian bookworm-backports/main amd64 Packages
     release v=12,o=Debian Backports,a=oldstable-backports,n=bookworm-backports,\
l=Debian Backports,c=main,b=amd64
     origin a.example
 500 http://a.example/debian-security bookworm-security/main amd64 Packages
     release v=12,o=Debian,a=oldstable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64
     origin a.example
 500 http://a.example/debian bookworm-updates/main amd64 Packages
     release v=12-updates,o=Debian,a=oldstable-updates,n=bookworm-updates,l=Debian,c=main,b=amd64
     origin a.example
 500 http://a.example/debian bookworm/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
     origin a.example
 500 https://d.example/linux/debian bookworm/stable amd64 Packages
     release o=Docker,a=bookworm,l=Docker CE,c=stable,b=amd64
     origin d.example
Pinned packages:
     docker.io -> 26.1.5+dfsg1-9+deb13u1+b1 with priority 990
"""
NOBLE = """\
 510 https://e.example/infra/ubuntu noble-infra-security/main amd64 Packages
     release v=24.04,o=UbuntuESM,a=noble-infra-security,n=noble,l=UbuntuESM,c=main,b=amd64
 100 http://u.example/ubuntu noble-backports/universe amd64 Packages
     release v=24.04,o=Ubuntu,a=noble-backports,n=noble,l=Ubuntu,c=universe,b=amd64
 500 http://u.example/ubuntu noble-security/main amd64 Packages
     release v=24.04,o=Ubuntu,a=noble-security,n=noble,l=Ubuntu,c=main,b=amd64
 500 http://u.example/ubuntu noble-updates/main amd64 Packages
     release v=24.04,o=Ubuntu,a=noble-updates,n=noble,l=Ubuntu,c=main,b=amd64
 500 http://u.example/ubuntu noble/main amd64 Packages
     release v=24.04,o=Ubuntu,a=noble,n=noble,l=Ubuntu,c=main,b=amd64
 500 https://p.example/ppa/ubuntu noble/main amd64 Packages
     release v=24.04,o=LP-PPA-somebody,a=noble,n=noble,l=somebody,c=main,b=amd64
"""
OWN_BOOKWORM = own_releases(BOOKWORM, distribution="debian", codename="bookworm", rolling=False)
OWN_NOBLE = own_releases(NOBLE, distribution="ubuntu", codename="noble", rolling=False)


def judged(
    plan: str, own: frozenset[str], *, held: tuple[str, ...] = (), in_use: bool = False
) -> list[str]:
    return refusals(
        read_plan(plan),
        own=own,
        anywhere=FROM_TRIXIE,
        untouched=IN_USE if in_use else (),
        held=held,
        is_older=apt.is_older,
    )


def test_the_machines_own_releases_are_told_from_others() -> None:
    assert sorted(OWN_BOOKWORM) == [
        "Debian-Security:12/oldstable-security",
        "Debian:12-updates/oldstable-updates",
        "Debian:12.15/oldstable",
    ]
    assert sorted(OWN_NOBLE) == [
        "Ubuntu:24.04/noble",
        "Ubuntu:24.04/noble-security",
        "Ubuntu:24.04/noble-updates",
        "UbuntuESM:24.04/noble-infra-security",
    ]


def test_a_machine_without_a_release_number_is_testing_or_unstable() -> None:
    sid = "     release o=Debian,a=unstable,n=sid,l=Debian,c=main,b=amd64\n"
    found = own_releases(sid, distribution="debian", codename="forky", rolling=True)
    assert found == {"Debian:unstable"}
    assert not own_releases(sid, distribution="debian", codename="forky", rolling=False)


def test_a_simulation_is_read() -> None:
    plan = read_plan(
        "The following packages will be upgraded:\n  login\n"
        "Remv docker-ce [5:28.2.2-1]\n"
        "Purg old-config [1]\n"
        "Inst login [1:4.13-1] (1:4.13-2 Debian:12.15/oldstable [amd64]) []\n"
        "Inst runc (1.1.5 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64])\n"
        "Inst libc6:i386 [2.36-1] (2.36-2 Debian:12.15/oldstable [i386])\n"
        "Inst local (1.0 [all])\n"
        "Conf login (1:4.13-2 Debian:12.15/oldstable [amd64])\n"
    )
    stable, security = "Debian:12.15/oldstable", "Debian-Security:12/oldstable-security"
    assert plan.removed == ("docker-ce", "old-config")
    assert plan.changes == (
        Change(
            name="login", old="1:4.13-1", new="1:4.13-2", releases=(stable,), architecture="amd64"
        ),
        Change(name="runc", old="", new="1.1.5", releases=(stable, security), architecture="amd64"),
        Change(
            name="libc6:i386", old="2.36-1", new="2.36-2", releases=(stable,), architecture="i386"
        ),
        Change(name="local", old="", new="1.0", releases=("",), architecture="all"),
    )


@pytest.mark.parametrize(
    "plan",
    [
        # Debian 12 that is one point release behind, as apt-get 2.6.1 printed it.
        (
            "Inst login [1:4.13+dfsg1-1+deb12u1] (1:4.13+dfsg1-1+deb12u2 Debian:12.15/oldstable "
            "[amd64])\n"
            "Inst ca-certificates [20230311+deb12u1] (20250419~deb12u2 "
            "Debian-Security:12/oldstable-security [all])\n"
            "Inst runc (1.1.5+ds1-1+deb12u1 Debian:12.15/oldstable, "
            "Debian-Security:12/oldstable-security [amd64])\n"
            "Inst docker.io (26.1.5+dfsg1-9+deb13u1+b1 Debian:13.8/stable [amd64])\n"
            "Inst containerd [1.6.20~ds1-1] (1.7.24~ds1-6+deb13u1 Debian:13.8/stable [amd64])\n"
        ),
        "",
    ],
)
def test_maintenance_on_debian_is_allowed(plan: str) -> None:
    assert judged(plan, OWN_BOOKWORM) == []


def test_maintenance_on_ubuntu_is_allowed() -> None:
    plan = (
        "Inst passwd [1:4.13+dfsg1-4ubuntu3] (1:4.13+dfsg1-4ubuntu3.2 Ubuntu:24.04/noble-updates, "
        "Ubuntu:24.04/noble-security [amd64])\n"
        "Inst libsubid4 (1:4.13+dfsg1-4ubuntu3.2 Ubuntu:24.04/noble-updates [amd64])\n"
        "Inst libssl3t64 [3.0.13-0ubuntu3] (3.0.13-0ubuntu3.9 "
        "UbuntuESM:24.04/noble-infra-security [amd64])\n"
        "Inst docker.io (27.5.1-0ubuntu3~24.04.2 Ubuntu:24.04/noble-updates [amd64])\n"
    )
    assert judged(plan, OWN_NOBLE) == []


@pytest.mark.parametrize(
    ("plan", "own", "refused"),
    [
        ("Remv docker-ce [5:28.2.2-1]\n", OWN_NOBLE, "it would remove docker-ce"),
        (
            "Inst libc6 [2.36-9] (2.41-12 Debian:13.8/stable [amd64])\n",
            OWN_BOOKWORM,
            "it would take libc6 2.36-9 → 2.41-12 from Debian:13.8/stable",
        ),
        (
            "Inst iptables (1.8.11-2~bpo12+1 Debian Backports:12/oldstable-backports [amd64])\n",
            OWN_BOOKWORM,
            (
                "it would take iptables 1.8.11-2~bpo12+1 from "
                "Debian Backports:12/oldstable-backports"
            ),
        ),
        (
            "Inst iptables (1.8.11 Ubuntu:24.04/noble-backports [amd64])\n",
            OWN_NOBLE,
            "it would take iptables 1.8.11 from Ubuntu:24.04/noble-backports",
        ),
        (
            "Inst tini (9 somebody:24.04/noble [amd64])\n",
            OWN_NOBLE,
            "it would take tini 9 from somebody:24.04/noble",
        ),
        (
            "Inst tini [9] (0.19 Ubuntu:24.04/noble [amd64])\n",
            OWN_NOBLE,
            "it would downgrade tini 9 → 0.19",
        ),
        # The engine's own packages may come from elsewhere, and not go back.
        (
            "Inst docker.io [28.5] (26.1.5 Debian:13.8/stable [amd64])\n",
            OWN_BOOKWORM,
            "it would downgrade docker.io 28.5 → 26.1.5",
        ),
    ],
)
def test_what_is_not_maintenance_is_refused(plan: str, own: frozenset[str], refused: str) -> None:
    assert judged(plan, own) == [refused]


def test_what_is_on_hold_or_in_use_stays() -> None:
    plan = "Inst passwd:amd64 [1] (2 Ubuntu:24.04/noble-updates [amd64])\n"
    assert judged(plan, OWN_NOBLE, held=("passwd",)) == [
        "it would change passwd:amd64 1 → 2, which is on hold"
    ]
    engine = "Inst docker.io [20.10.24] (26.1.5 Debian:13.8/stable [amd64])\n"
    assert judged(engine, OWN_BOOKWORM) == []
    assert judged(engine, OWN_BOOKWORM, in_use=True) == [
        "it would replace docker.io 20.10.24 → 26.1.5, which is in use"
    ]


@pytest.mark.parametrize("held", ["passwd", "passwd:amd64"])
@pytest.mark.parametrize("named", ["passwd", "passwd:amd64"])
def test_a_hold_counts_with_and_without_its_architecture(held: str, named: str) -> None:
    plan = f"Inst {named} [1] (2 Ubuntu:24.04/noble-updates [amd64])\n"
    refused = [f"it would change {named} 1 → 2, which is on hold"]
    assert judged(plan, OWN_NOBLE, held=(held,)) == refused
    assert judged(plan, OWN_NOBLE, held=("passwd:i386",)) == []


@pytest.mark.parametrize(
    "line", ["Inst tini [9]", "Inst tini ()", "Inst tini (9 Debian:12/stable)", "Inst"]
)
def test_nothing_is_installed_by_a_plan_that_cannot_be_read(line: str) -> None:
    with pytest.raises(NotPossibleError) as caught:
        read_plan(f"Inst good (1 Debian:12.15/oldstable [amd64])\n{line}\n")
    assert caught.value.message == f"what apt would install cannot be read: {line}"


def test_a_plan_that_is_indented_is_read_like_any_other() -> None:
    plan = "  Inst tini (9 somebody:24.04/noble [amd64])\n  Remv runc [1]\n"
    assert judged(plan, OWN_NOBLE) == [
        "it would remove runc",
        "it would take tini 9 from somebody:24.04/noble",
    ]
