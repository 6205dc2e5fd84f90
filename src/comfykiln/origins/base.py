"""The base image: the registry's by digest, else the same Debian suite bootstrapped on this host."""

from __future__ import annotations
