"""What a migration manifest is called, and its schema."""

from __future__ import annotations

KIND = "manifest"
SCHEMA = "migration-1.0"
