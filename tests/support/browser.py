"""The system's own Chromium or Chrome, headless, driven by Selenium; installed where it may be."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRIVER = "chromedriver"
PACKAGES = ("chromium", "chromium-driver", "fonts-dejavu-core")


def ensure() -> None:
    """Return when both programs are there, having installed Debian's where root may do that.

    Ubuntu's package is a snap, which runs in few containers; machines of CI come with Chrome.
    """
    if found() and shutil.which(DRIVER):
        return
    system = apt.distribution()
    if system.id != "debian" or os.geteuid() != 0 or os.environ.get("KILN_SETUP") == "never":
        raise NotPossibleError(
            "the browser test needs Chromium or Chrome, and chromedriver",
            remedy=f"install them (Debian: apt-get install {' '.join(PACKAGES)})",
        )
    apt.update(system.codename)
    apt.install(PACKAGES)


def found() -> str:
    """Return the path of the browser that is here, "" for none."""
    return next(filter(None, map(shutil.which, BROWSERS)), "")


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Start the browser with a fresh profile folder and a window as on a desk."""
    options = webdriver.ChromeOptions()
    options.binary_location = found()
    for argument in (
        "--headless=new",
        "--no-sandbox",  # tests may run as root, in containers
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1500,950",
        "--force-device-scale-factor=1",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    service = Service(shutil.which(DRIVER))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()
