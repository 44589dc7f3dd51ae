"""The parts of ``lpnsr web`` that need no browser."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lpnsr.apps.jobs import State, StorageError
from lpnsr.apps.web import texts
from lpnsr.apps.web.archive import MOST_FILES, Member, Results, members
from lpnsr.apps.web.desk import Desk, Upload
from lpnsr.apps.web.fleet import ANY, KINDS, Fleet, Ticket, following
from lpnsr.errors import InputError, OutputError
from support.jobs import FakeModels, ended, engine, picture, until


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk(Fleet({"cpu": engine(kinds=KINDS, ttl=100)}))
    desk.start()
    yield desk
    desk.close()


def test_a_member_is_not_taken_out_to_where_it_says(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("../../up.png", "C:\\deep\\..\\win.png", "/root.png", "ok/a:b.png", "..", "__MACOSX/x"):
            archive.writestr(name, picture())
        archive.writestr("bomb.png", bytes(1_000_000))
    found = members([Upload(path, "a.zip")])
    names = ["up.png", "C/deep/win.png", "root.png", "ok/ab.png", "image", "bomb.png"]
    assert [member.name for member in found] == names
    for member in found[:-1]:
        member.save(tmp_path / "out", 10_000)
        assert (tmp_path / "out").read_bytes() == picture()
    found[-1].save(tmp_path / "out", 10_000)
    assert (tmp_path / "out").stat().st_size == 10_001
    data = bytearray(path.read_bytes())
    data[40:60] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"up.png: it cannot be taken out"):
        found[0].save(tmp_path / "out", 10_000)
    with pytest.raises(InputError, match="no photographs"):
        members([])


def test_what_cannot_be_unpacked_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", picture() * 100)
        for number in range(MOST_FILES):
            archive.writestr(f"{number}", b"")
    with pytest.raises(InputError, match=f"more than {MOST_FILES} files"):
        members([Upload(tmp_path / "a.zip", "a.zip")])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[50:80] = bytes([255]) * 30  # of a stream that tells nothing of its end, an LZMAError
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"^a\.png: it cannot be taken out of its zip file \("):
        Member("a.png", tmp_path / "a.zip", "a.png").save(tmp_path / "out", 10_000)
    with pytest.raises(OutputError, match=r"^the zip file cannot be written: No such file or directory$"):
        Results(tmp_path / "no" / "out.zip")


def test_results_of_one_name_get_two(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    results = Results(tmp_path / "out.zip")
    for name in ("d/x.png", "d/x.jpg", "x.png"):
        results.add(name, tmp_path / "a", "x_8x8.png", "done")
    results.missing("=1+1.png", "failed", "it is no image")
    results.finish()
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["d/x_8x8.png", "d/x_8x8 (2).png", "x_8x8.png", "report.csv"]
        assert "'=1+1.png,failed,,it is no image" in archive.read("report.csv").decode()


def test_old_files_go_and_examples_stay() -> None:
    desk = Desk(Fleet({"cpu": engine(ttl=100)}))
    (desk.uploads / "example").mkdir()
    desk.start()
    try:
        visitor = desk.visitor(SimpleNamespace(session_hash="a"))
        old, new = desk.new_file(visitor, "old"), desk.new_file(visitor, "new")
        (desk.uploads / "sent").mkdir()
        (desk.uploads / "broken-off").write_bytes(b"a")
        (desk.uploads / "arriving").write_bytes(b"a")
        for path in (
            old.parent,
            desk.uploads / "sent",
            desk.uploads / "broken-off",
            desk.uploads / "example",
            new.parent,
        ):
            os.utime(path, (1, 1))
        new.write_bytes(b"still being written")
        desk.sweep()
        assert (old.parent.exists(), new.exists()) == (False, True)
        assert sorted(path.name for path in desk.uploads.iterdir()) == ["arriving", "example"]
    finally:
        desk.close()
    assert not desk.uploads.exists()


def test_who_leaves_leaves_nothing(desk: Desk) -> None:
    one, other = (SimpleNamespace(session_hash=name) for name in "ab")
    desk.fleet.first.models.gate.clear()  # type: ignore[attr-defined]
    (desk.uploads / "a.png").write_bytes(picture())
    upload = Upload(desk.uploads / "a.png", "a.png")
    tickets = [desk.submit(desk.visitor(each), "photo", upload, {}, "cpu", "") for each in (one, other)]
    file = desk.new_file(desk.visitor(one), "x")
    desk.leave(one)
    assert [ticket.status.state.ended for ticket in tickets] == [True, False]
    assert not file.parent.exists()
    desk.visitor(other).cancel("photo")
    assert tickets[1].status.state == "cancelled"


def test_who_leaves_leaves_no_results(desk: Desk) -> None:
    request, engine = SimpleNamespace(session_hash="a"), desk.fleet.first
    visitor = desk.visitor(request)
    (desk.uploads / "a.png").write_bytes(picture())
    results = []
    for part in ("batch", "photo", "photo"):
        ticket = desk.submit(visitor, part, Upload(desk.uploads / "a.png", "a.png"), {}, "cpu", "")
        ended(engine, ticket.id)
        results.append(ticket.result())
        if part == "batch":
            visitor.finished["file", "options"] = visitor.tickets.pop(part)
    assert [path.exists() for path in results] == [True, False, True]  # the second is that of no part any more
    visitor.tickets["thoughts"] = Ticket(engine, "forgotten")
    file = desk.new_file(visitor, "x")
    desk.leave(request)
    assert not any(path.exists() for path in (*results, file.parent))


def test_jobs_that_are_forgotten_are_no_obstacle(desk: Desk) -> None:
    visitor = desk.visitor(SimpleNamespace(session_hash="a"))
    visitor.tickets["photo"] = Ticket(desk.fleet.first, "forgotten")
    visitor.cancel("photo")
    (desk.uploads / "a.png").write_bytes(picture())
    assert desk.submit(visitor, "photo", Upload(desk.uploads / "a.png", "a.png"), {}, "cpu", "").status


def test_room_is_limited() -> None:
    desk = Desk(Fleet({"cpu": engine(max_stored=1_500_000)}))
    try:
        visitor = desk.visitor(SimpleNamespace(session_hash="a"))
        file = desk.new_file(visitor, "a")
        file.write_bytes(bytes(1_000_000))
        assert desk.handed_out(visitor, file, "b").stat().st_nlink == 2
        assert desk.room()
        (desk.uploads / "c").write_bytes(bytes(1_000_000))
        assert not desk.room()
        with pytest.raises(StorageError, match="no room"):
            desk.new_file(visitor, "d")
        (desk.uploads / "c").unlink()
        desk.drop(visitor, file)
        with pytest.raises(StorageError, match=r"^e\.png cannot be stored: No such file"):
            desk.handed_out(visitor, file, "e.png")
        assert len(visitor.folders) == len([*desk.shown.iterdir()]) == 1
    finally:
        desk.close()


def test_room_and_sweeping_while_others_come_and_go(desk: Desk) -> None:
    done = threading.Event()

    def comes_and_goes(folder: Path) -> None:
        while not done.is_set():
            with suppress(OSError):  # it was swept meanwhile
                (folder / "inner").mkdir(parents=True, exist_ok=True)
                (folder / "inner" / "a.png").touch()
                os.utime(folder, (1, 1))
            shutil.rmtree(folder, ignore_errors=True)

    others = [
        threading.Thread(target=comes_and_goes, args=(where / str(number),))
        for where in (desk.uploads, desk.shown)
        for number in range(2)
    ]
    try:
        for other in others:
            other.start()
        for _ in range(300):
            assert desk.room()
            desk.sweep()
    finally:
        done.set()
        for other in others:
            other.join()


def _worked_off(batch: Any, files: list[Upload], at_news: Any = lambda: None) -> list[str]:
    async def work() -> None:
        async for _ in batch.work(files):
            at_news()

    asyncio.run(work())
    return [state for state, _ in batch.states]


def test_a_batch_may_last_longer_than_files_are_kept(desk: Desk) -> None:
    pytest.importorskip("gradio", reason="needs the extra web")
    from lpnsr.apps.web.tabs.batch import Batch

    visitor = desk.visitor(SimpleNamespace(session_hash="a"))
    batch = Batch(desk, visitor, "", 1)
    files = []
    for number in range(3):
        (desk.uploads / str(number)).mkdir()
        path = desk.uploads / str(number) / "a.png"
        path.write_bytes(picture((number, 0, 0)))
        files.append(Upload(path, f"{number}.png"))
    for path in (*desk.uploads.rglob("*"), *desk.shown.rglob("*")):
        os.utime(path, (1, 1))
    assert _worked_off(batch, files, desk.sweep) == ["done"] * 3
    assert batch.finish().exists()
    assert {path.name for path in desk.shown.rglob("*.*")} == {"lpnsr.zip", "small.png"}  # no copies of the files stay


def test_a_result_without_its_small_picture_is_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio", reason="needs the extra web")
    from lpnsr.apps.web.tabs.batch import Batch, pictures

    def full(*_: Any, **__: Any) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(pictures, "shown", full)
    batch = Batch(desk, desk.visitor(SimpleNamespace(session_hash="a")), "", 1)
    (desk.uploads / "a.png").write_bytes(picture())
    assert _worked_off(batch, [Upload(desk.uploads / "a.png", "a.png")]) == ["done"]
    assert batch.summary() == "1 upscaled"


def test_equal_files_have_one_result(desk: Desk) -> None:
    pytest.importorskip("gradio", reason="needs the extra web")
    from lpnsr.apps.web.tabs.batch import Batch

    files = []
    for number, (name, red) in enumerate([("a.png", 1), ("a.png", 2), ("b.png", 2)]):
        files.append(Upload(desk.uploads / f"{number}.png", name))
        files[-1].path.write_bytes(picture((red, 0, 0)))
    batch = Batch(desk, desk.visitor(SimpleNamespace(session_hash="a")), "", 1)
    assert _worked_off(batch, files) == ["done", "done", "same"]
    with zipfile.ZipFile(batch.finish()) as results:
        lines = results.read("report.csv").decode().splitlines()
    assert lines[3] == f"b.png,same,{lines[2].split(',')[2]},same as a.png"
    assert lines[1].split(",")[2] != lines[2].split(",")[2]


def test_a_batch_keeps_no_copies_of_what_is_refused(desk: Desk, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra web")
    from lpnsr.apps.web.tabs.batch import Batch

    batch = Batch(desk, desk.visitor(SimpleNamespace(session_hash="a")), "", 1)
    (tmp_path / "a").write_bytes(b"no image")
    files = [Upload(tmp_path / "a", "a.png"), Upload(tmp_path / "gone", "gone.png"), Upload(tmp_path / "a", "b.png")]
    assert _worked_off(batch, files) == ["failed"] * 3
    assert batch.states[1][1] == "it cannot be read (No such file or directory)"
    assert [*desk.shown.iterdir()] == [batch.results.path.parent]


def test_a_photograph_in_the_queue_does_not_get_old(desk: Desk) -> None:
    desk.fleet.first.models.gate.clear()  # type: ignore[attr-defined]
    (desk.uploads / "a.png").write_bytes(picture())
    upload = Upload(desk.uploads / "a.png", "a.png")
    ticket = desk.submit(desk.visitor(SimpleNamespace(session_hash="a")), "photo", upload, {}, "cpu", "")
    os.utime(upload.path, (1, 1))

    async def look() -> None:
        async with following(ticket, [upload.path]) as statuses:
            await anext(statuses)
            desk.sweep()

    asyncio.run(look())
    assert upload.path.exists()
    assert ticket.status.state == "cancelled"


def test_a_page_whose_job_waits_looks_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    states, pauses = [State.QUEUED] * 12 + [State.RUNNING] * 2 + [State.DONE], []

    class Waits:
        def cancel(self) -> None:
            pass

        @property
        def status(self) -> Any:
            return SimpleNamespace(state=states.pop(0))

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def look() -> None:
        async with following(Waits()) as statuses:  # type: ignore[arg-type]
            async for _ in statuses:
                pass

    monkeypatch.setattr("lpnsr.apps.web.fleet.asyncio.sleep", sleep)
    asyncio.run(look())
    waiting, running = pauses[:12], pauses[12:]
    assert waiting == sorted(waiting)
    assert waiting[0] < 0.5 < 1 < waiting[-1] <= 2
    assert running == [0.25, 0.25]


def test_the_queue_is_told_as_it_is() -> None:
    for ready, running, line in (
        (False, 0, '<li class="busy">cpu: loading the model</li>'),
        (True, 0, '<li class="free">cpu: free</li>'),
        (True, 1, '<li class="busy">cpu: at work, 2 waiting</li>'),
    ):
        counts = {"running": running, "queued": 2}
        fleet: Any = SimpleNamespace(engines={"cpu": SimpleNamespace(ready=ready, counts=lambda counts=counts: counts)})
        assert line in texts.queues(fleet)


def test_transparency_that_is_lost_is_told(desk: Desk, tmp_path: Path) -> None:
    gradio = pytest.importorskip("gradio", reason="needs the extra web")
    from lpnsr.apps.web.tabs.photo import PhotoTab

    Image.new("RGBA", (8, 8), (1, 2, 3, 99)).save(tmp_path / "a.png")
    ticket: Any = SimpleNamespace(status=SimpleNamespace(file_name="a_8x8.png"), result=lambda: tmp_path / "a.png")
    visitor = desk.visitor(SimpleNamespace(session_hash="a"))
    with gradio.Blocks():
        tab = PhotoTab(desk, gradio.HTML())
    for kind, words in (("jpeg", ">JPEG has no transparency"), ("png", ""), ("webp", ""), ("jpeg", ">JPEG")):
        changes = tab._download(visitor, ticket, kind, 90)
        assert words in changes[tab.trouble]
        assert bool(words) == bool(changes[tab.trouble])
        assert Path(changes[tab.download].value["path"]).exists()
    assert len([*desk.shown.iterdir()]) == 2  # the newest, and that before, which may just be fetched


def test_devices_are_picked(tmp_path: Path) -> None:
    models = FakeModels()
    fleet = Fleet({name: engine(models) for name in ("cuda:0", "cuda:1", "cpu")})
    try:
        assert fleet.choices == [ANY, "cuda:0", "cuda:1", "cpu"]
        fleet.pick("cuda:0").submit(picture())
        assert fleet.pick(ANY) is fleet.engines["cuda:1"]
        assert fleet.pick("cpu") is fleet.engines["cpu"]
        assert Fleet({"cpu": fleet.first}).choices == ["cpu"]
    finally:
        fleet.close()


def test_what_visitors_read_is_escaped(desk: Desk) -> None:
    job = desk.fleet.first.submit(picture(), name="<b>x</b>.png")
    until(lambda: desk.fleet.first.status(job).state.ended)
    assert "<b>x" not in texts.rows([("<b>x", "done", "<script>", None)]) + texts.problem("<b>x")
    assert "seed 0" in texts.made_with(Ticket(desk.fleet.first, job).status)
    running = Ticket(desk.fleet.first, job).status.model_copy(update={"state": State.RUNNING, "tiles": 4, "steps": 4})
    assert "tile 4 of 4, step 1 of 4, 20 s left" in texts.progress(
        running.model_copy(update={"tiles_done": 3, "seconds_left": 20.0})
    )
    assert "Writing the result" in texts.progress(running.model_copy(update={"tiles_done": 4}))
    assert [texts.spoken(s) for s in (0.2, 30, 600, 9000)] == ["a moment", "30 s", "10 min", "2.5 h"]


def test_members_that_are_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(50))
    Member("a", tmp_path / "a").save(tmp_path / "b", 10)
    assert (tmp_path / "b").stat().st_size == 11


async def _last(news: Any) -> Any:
    return [each async for each in news][-1]


def test_what_fails_unexpectedly_leaves_the_buttons_usable(desk: Desk) -> None:
    gradio = pytest.importorskip("gradio", reason="needs the extra web")
    from lpnsr.apps.web.tabs.batch import BatchTab
    from lpnsr.apps.web.tabs.photo import PhotoTab
    from lpnsr.apps.web.tabs.thoughts import ThoughtsTab

    request = SimpleNamespace(session_hash="a", client=SimpleNamespace(host=""))
    payload = {"path": str(desk.uploads / "a.png")}

    for kind, arguments in ((BatchTab, ("png", 9)), (PhotoTab, ("png", 9)), (ThoughtsTab, (64, 0, 0))):
        with gradio.Blocks():
            tab = kind(desk, gradio.HTML())
        seen = asyncio.run(_last(tab.react(request, payload, *arguments)))  # without values of the form: a ValueError
        assert "failed unexpectedly" in seen[tab.status]
        assert seen[tab.run].interactive
        assert not seen[tab.stop].visible


def test_what_is_gone_is_told(desk: Desk) -> None:
    gradio = pytest.importorskip("gradio", reason="needs the extra web")
    from lpnsr.apps.web.tabs.photo import PhotoTab

    request = SimpleNamespace(session_hash="a")
    desk.visitor(request).tickets["photo"] = Ticket(desk.fleet.first, "forgotten")
    with gradio.Blocks():
        tab = PhotoTab(desk, gradio.HTML())
    arrived = tab._arrived(request, {"path": str(desk.uploads / "gone.png")})
    assert "gone.png cannot be read (No such file" in arrived[tab.about]
    assert "the result is gone" in asyncio.run(_last(tab._convert(request, "png", 9)))[tab.trouble]


def test_previews(desk: Desk) -> None:
    gradio = pytest.importorskip("gradio", reason="needs the extra web")
    from lpnsr.apps.web.tabs.photo import PhotoTab

    request: Any = SimpleNamespace(session_hash="a", client=SimpleNamespace(host=""))
    visitor, source = desk.visitor(request), desk.uploads / "a.jpg"
    halves = Image.new("RGB", (200, 120), (0, 0, 255))
    halves.paste((255, 0, 0), (0, 0, 200, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: 120 x 200, red on the right
    halves.save(source, exif=exif)
    with gradio.Blocks():
        tab = PhotoTab(desk, gradio.HTML())
    values = [component.value for component in tab.form.inputs]
    values[:2] = ["width", 60]  # half as large

    async def clicked(*place: int | None) -> Any:
        at: Any = SimpleNamespace(index=place)
        return [each async for each in tab._preview_there(request, at, {"path": str(source)}, "png", 9, *values)]

    for place, colour in (((5, 100), (0, 0, 255)), ((119, 190), (255, 0, 0))):
        asyncio.run(clicked(*place))
        with Image.open(visitor.tickets["photo"].result()) as result:
            assert result.size == (48, 48)
            assert np.abs(np.subtract(result.getpixel((24 - 12 * (place[0] < 60), 24)), colour)).max() < 9
    earlier = visitor.tickets["photo"]
    asyncio.run(clicked(None, None))  # from a picture that the browser does not show
    assert visitor.tickets["photo"] is not earlier

    desk.fleet.first.models.gate.clear()  # type: ignore[attr-defined]
    ticket = desk.submit(visitor, "photo", Upload(source, "a.jpg"), {}, "cpu", "")
    assert len(asyncio.run(asyncio.wait_for(clicked(1, 1), 20))) == 1
    assert visitor.tickets["photo"] is ticket
    assert ticket.at_work
    desk.fleet.first.models.gate.set()  # type: ignore[attr-defined]
