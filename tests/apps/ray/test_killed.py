"""``lpnsr upscale --engine ray`` with Ray's processes: the files of a plain run, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from support.tiny_model import tiny_upscaler
from support.upscale_command import files, make

pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")

LIMIT = 240  # seconds that anything may take on a busy machine
AT_HAND = 2 * 3  # images of two workers, each with one in the model and --jobs, two, being written
COUNT = 120  # images, more than workers make before they see that the caller was killed


def start(*arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(Path.cwd())}
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "from lpnsr.apps.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "upscale", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def ended(child: subprocess.Popen[str], code: int) -> str:
    out, err = child.communicate(timeout=LIMIT)
    assert child.returncode == code, err
    assert "Traceback" not in err
    return out


def until(condition) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def commands() -> dict[int, str]:
    """The processes of this machine, by their names."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = entry.joinpath("stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z":
                found[int(entry.name)] = (
                    entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
    return found


def of_ray(before: set[int]) -> dict[int, str]:
    words = ("ray::", "raylet", "gcs_server", "/ray/")
    return {pid: name for pid, name in commands().items() if pid not in before and any(w in name for w in words)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_upscaler().save_pretrained(folder)
    return folder


def manifest(folder: str = "out/manifest.parquet") -> list[dict]:
    return pq.read_table(folder).to_pylist()


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")


@needs_proc
def test_two_workers_make_the_files_of_a_plain_run(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("in/a.png", "in/b/c.png", "in/d.png", size=(16, 24))
    before = set(commands())
    options = ["in", "-r", "-n", model, "--device", "cpu"]
    out = ended(start(*options, "-o", "out", "--engine", "ray", "--workers", 2, "--threads", 1, "--json"), 0)
    assert json.loads(out.splitlines()[-1])["done"] == 3
    until(lambda: not of_ray(before))
    ended(start(*options, "-o", "plain"), 0)
    names = files("plain")
    assert len(names) == 3
    assert [name for name in files("out") if not name.startswith("manifest")] == names
    assert all(Path("out", name).read_bytes() == Path("plain", name).read_bytes() for name in names)
    assert Counter(row["status"] for row in manifest()) == {"done": 3}


@pytest.mark.slow
@needs_proc
def test_killed_interrupted_and_with_a_worker_killed(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"in/{number % 3}/{number}.png" for number in range(COUNT)]
    make(*names, size=(16, 24))
    Path("in/0/bad.png").write_text("no image")
    Path("in/0/empty.jpg").touch()
    before = set(commands())
    options = ["in", "-r", "-n", model, "--seed", 5, "--device", "cpu"]
    big = [*options, "-o", "out", "--engine", "ray", "--workers", 2, "--threads", 1, "--skip-existing", "--json"]

    def made() -> int:
        return len(list(Path("out").rglob("[0-9]*.png")))

    child = start(*big)
    until(lambda: made() >= 3)
    child.kill()
    child.communicate()
    until(lambda: "MapWorker" not in str(of_ray(before)))
    before |= of_ray(before).keys()  # others take longer to see it
    left = {path for path in tmp_path.iterdir() if "lpnsr" in path.name}  # a killed process cleans nothing
    first = made()
    assert 3 <= first < COUNT
    child = start(*big)
    until(lambda: made() >= first + 4 * AT_HAND)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    err = child.communicate(timeout=LIMIT)[1]
    assert child.returncode == 130, err
    assert err.endswith("interrupted\n")
    until(lambda: not of_ray(before))
    second = made()
    assert first < second < COUNT
    done = Counter(row["status"] for row in manifest())
    assert done["skipped"] == first
    assert second - first - AT_HAND <= done["done"] <= second - first  # workers may have had no time to say so

    child = start(*big)
    until(lambda: made() >= second + 3)
    os.kill(next(pid for pid, name in of_ray(before).items() if "MapWorker" in name), signal.SIGKILL)
    summary = [json.loads(line) for line in ended(child, 1).splitlines()][-1]  # and Ray says nothing in between
    assert {key: summary[key] for key in ("done", "skipped", "failed")} == {
        "done": COUNT - second,
        "skipped": second,
        "failed": 2,
    }
    until(lambda: not of_ray(before))

    ended(start(*options, "-o", "plain"), 1)
    assert files("plain") == sorted(name.removeprefix("in/") for name in names)
    assert [name for name in files("out") if not name.startswith("manifest")] == files("plain")
    for name in files("plain"):
        assert Path("out", name).read_bytes() == Path("plain", name).read_bytes()
    assert {path for path in tmp_path.iterdir() if "lpnsr" in path.name} == left

    rows = [row for row in manifest() if row["run"] == max(row["run"] for row in manifest())]
    assert Counter(row["status"] for row in rows) == {"done": COUNT - second, "skipped": second, "failed": 2}
    assert len({row["input"] for row in rows}) == COUNT + 2
    assert max(row["attempt"] or 0 for row in rows) == 2
    last = next(row for row in rows if row["status"] == "done")
    assert (last["input_width"], last["width"], last["height"], last["seed"], last["threads"]) == (24, 96, 64, 5, 1)
    assert last["output_bytes"] == Path(last["output"]).stat().st_size
    assert len(last["model_digest"]) == 64
    errors = {Path(row["input"]).name: row["error"] for row in rows if row["status"] == "failed"}
    assert "not an image" in errors["bad.png"]
    assert "empty" in errors["empty.jpg"]
