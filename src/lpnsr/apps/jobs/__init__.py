"""A queue of upscaling jobs, without a web framework: what ``lpnsr serve`` and ``lpnsr web`` have in common.

    from lpnsr.apps.jobs import Engine, Limits, Models

    with Engine(Models(["base"]), limits=Limits(queue=20)) as engine:      # one worker thread a device
        job = engine.submit(data, {"scale": 2, "seed": 7}, owner="anna", name="photo.jpg")   # bytes, Path or open file
        for status in engine.watch(job):                                   # or engine.status(job) now and then
            print(status.state, status.position, status.progress, status.seconds_left)
        path = engine.result(job)                                          # a file, until it expires
        engine.cancel(job)                                                 # while it waits or runs; then: delete it

``submit`` checks options, size and format before a job takes its place, and raises what is in ``errors`` (BusyError
has ``retry_after``) or a ConfigError, an InputError or an OutputError. All of them are LpnsrErrors with a sentence for
the user.

One job at a time runs on a device. A job stops at its next step when it is cancelled or takes too long. With a state
folder, jobs and results outlive the process. A job may be of another kind than "upscale": see ``Work`` and the
argument ``kinds`` of Engine. ``settings_in(path)`` reads what a result was made with.
"""

from lpnsr.apps.jobs.engine import Engine
from lpnsr.apps.jobs.errors import (
    BusyError,
    ClosedError,
    GoneError,
    JobError,
    NotReadyError,
    StorageError,
    TooLargeError,
    UnknownJobError,
)
from lpnsr.apps.jobs.models import Models
from lpnsr.apps.jobs.record import State, Status
from lpnsr.apps.jobs.settings import JobOptions, Limits
from lpnsr.apps.jobs.worker import Kind, Work
from lpnsr.upscaling.provenance import settings_in

__all__ = [
    "BusyError",
    "ClosedError",
    "Engine",
    "GoneError",
    "JobError",
    "JobOptions",
    "Kind",
    "Limits",
    "Models",
    "NotReadyError",
    "State",
    "Status",
    "StorageError",
    "TooLargeError",
    "UnknownJobError",
    "Work",
    "settings_in",
]
