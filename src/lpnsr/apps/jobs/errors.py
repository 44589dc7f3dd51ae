"""The errors of a queue of jobs. All are LpnsrErrors, and their sentences are for users."""

from __future__ import annotations

from lpnsr.errors import InputError, LpnsrError


class JobError(LpnsrError):
    """Base of what concerns jobs."""


class BusyError(JobError):
    """The queue, or its owner's share of it, is full. ``retry_after``: whole seconds after which to try again."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ClosedError(JobError):
    """The queue takes no more jobs, because it is being shut down."""


class UnknownJobError(JobError):
    """There is no job of this id, or it was forgotten long ago."""


class NotReadyError(JobError):
    """The result is not there yet."""


class GoneError(JobError):
    """There is no result any more, or there will be none: the job failed, was cancelled, or has expired."""


class StorageError(JobError):
    """An upload cannot be stored: the disk is full, or the folder is gone."""


class TooLargeError(JobError, InputError):
    """An upload, its pixels or those of its result are more than the limits allow."""
