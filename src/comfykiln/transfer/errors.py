"""Errors of object storage: each says what happened and where, then what to do."""

from __future__ import annotations


class StorageError(Exception):
    """A failure with a cause and a remedy, free of secrets and fit to be shown to a person.

    `code` is the store's own word for it, "" if it had none.
    """

    def __init__(self, message: str, *, remedy: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class ProfileError(StorageError, ValueError):
    """The configuration is missing, incomplete, contradictory or readable by others."""


class AccessError(StorageError):
    """The store knows us and refuses, or does not know us."""


class MissingError(StorageError):
    """The bucket or the object does not exist."""


class UnreachableError(StorageError):
    """The store cannot be reached, or keeps failing, so that nothing is known about the object."""


class ChangedError(StorageError):
    """The object changed while it was being read."""


class DamagedError(StorageError):
    """The bytes are not those that were promised."""


class SpaceError(StorageError):
    """The disk has no room, or the folder cannot be written."""


class ExistsError(StorageError):
    """The object exists already, so it has not been written."""


class RegionError(AccessError):
    """The bucket is served elsewhere; `region` says where, "" if the server does not tell."""

    def __init__(self, message: str, *, remedy: str, region: str) -> None:
        super().__init__(message, remedy=remedy)
        self.region = region


class Cancelled(StorageError):  # noqa: N818  # it is no error of the program
    """The person stopped the work."""
