"""``lpnsr web`` in a real browser: what a visitor does, what several do at once, and what enemies send."""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="needs the extra web")
pytest.importorskip("playwright", reason="needs playwright")

import httpx2 as httpx
from playwright.sync_api import Browser, Page, expect

from lpnsr.apps.jobs import settings_in
from lpnsr.apps.web import pictures
from support import http_server
from support.jobs import colour_of, declaring, picture, until
from support.web_site import Site, serving

PATIENCE = 60_000  # milliseconds, for a machine that is busy otherwise
RED, GREEN, BLUE = (200, 30, 60), (20, 160, 90), (40, 70, 220)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving(max_upload=200_000, max_pixels=17_000, max_batch=300_000) as site:
        yield site


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    with browser.new_context() as context:
        page = context.new_page()
        yield _opened(page, site)
        assert page.troubles == []  # type: ignore[attr-defined]


def _opened(page: Page, site: Site) -> Page:
    """The page, of which every complaint of the browser and every request to elsewhere is noted."""
    page.troubles = troubles = []  # type: ignore[attr-defined]
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((site.url, "data:", "blob:")) else troubles.append(r.url))
    page.goto(site.url)
    page.wait_for_selector("#run")
    return page


def _drop(page: Page, *files: tuple[str, bytes], into: str = "photo") -> None:
    payload: Any = [
        {"name": name, "mimeType": guess_type(name)[0] or "application/octet-stream", "buffer": data}
        for name, data in files
    ]
    clear = page.locator(f"#{into} button[aria-label='Clear'], #{into} button[aria-label='Remove Image']")
    if clear.count():
        clear.first.click()
    page.locator(f"#{into} input[type=file]").first.set_input_files(payload)


def _fill(page: Page, label: str, text: str) -> None:
    """As a person does, who does not type in the moment in which a field is being made and still gets its value."""
    field = page.get_by_label(label).first
    for _ in range(20):
        field.fill(text)
        page.wait_for_timeout(300)
        if field.input_value() == text:
            break
    expect(field).to_have_value(text)


def _fetched(page: Page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_from_photograph_to_download(page: Page, site: Site) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera of mine"
    _drop(page, ("Ärger 1.png", picture(RED, (32, 24), exif=exif, dpi=(300, 300))))
    expect(page.locator("#about")).to_contain_text("32 x 24")
    page.click("text=More settings >> visible=true")
    _fill(page, "Seed", "7")
    _fill(page, "Value", "2")
    page.get_by_label("faithful").first.check()
    expect(page.get_by_label("Fidelity").first).to_have_value("1")
    page.click("#run")
    page.wait_for_selector("#slider img")
    expect(page.locator("#facts")).to_contain_text("64 x 48")
    expect(page.locator("#facts")).to_contain_text("seed 7")
    expect(page.locator("#facts")).to_contain_text("fidelity 1")
    expect(page.locator("#facts .lp-facts")).to_be_visible()
    expect(page.locator("#queue .lp-queue")).to_be_visible()
    page.wait_for_function("[...document.querySelectorAll('#slider img')].every(i => i.naturalWidth == 64)")
    assert page.locator("#slider img").count() == 2
    name, data = _fetched(page, "#download")
    assert name == "Ärger 1_64x48.png"
    made = settings_in(io.BytesIO(data))  # type: ignore[arg-type]
    assert made is not None
    assert (made["seed"], made["scale"], made["model"], made["noise"]) == (7, 2, "lite", "predicted")
    with Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.getexif()[0x010F]) == ((64, 48), "Camera of mine")
        assert round(image.info["dpi"][0]) == 300

    page.get_by_label("Format").first.click()
    page.get_by_role("option", name="jpeg").click()
    expect(page.locator("#download")).to_contain_text("JPEG")
    name, data = _fetched(page, "#download")
    with Image.open(io.BytesIO(data)) as image:
        assert (name, image.format, image.getexif()[0x010F]) == ("Ärger 1_64x48.jpg", "JPEG", "Camera of mine")

    _drop(page, (name, data))  # its settings can be used again
    _fill(page, "Seed", "0")
    page.click("#reuse")
    expect(page.get_by_label("Seed").first).to_have_value("7")


def test_a_model_without_a_chain_has_none_of_its_controls(page: Page) -> None:
    def choose(model: str) -> None:
        page.get_by_label("Model").first.click()
        page.get_by_role("option", name=model, exact=True).first.click()

    page.click("text=More settings >> visible=true")
    _fill(page, "Seed", "7")
    choose("x2.pth")
    for label in ("Steps", "Noise", "faithful", "Fidelity", "Seed"):
        expect(page.get_by_label(label).first).to_be_hidden()
    expect(page.get_by_label("Value").first).to_have_value("2")
    _drop(page, ("a.png", picture(RED, (32, 24))))
    page.click("#run")
    expect(page.locator("#facts")).to_contain_text("64 x 48")
    expect(page.locator("#facts")).to_contain_text("model x2.pth")
    choose("broken.pth")
    page.click("#run")
    expect(page.locator("#status")).to_contain_text("no model 'broken.pth'")
    choose("lite")
    expect(page.get_by_label("Fidelity").first).to_be_visible()
    expect(page.get_by_label("Seed").first).to_have_value("0")


def test_an_example_and_the_slider(page: Page) -> None:
    page.locator("#examples button").first.click()
    expect(page.locator("#about")).to_contain_text("dog.png: 128 x 128")
    page.click("#run")
    page.wait_for_selector("#slider img")
    expect(page.locator("#facts")).not_to_contain_text("This result is of")
    box = page.locator("#slider .lp-pair").bounding_box()
    assert box is not None
    line = page.get_by_label("Line between before and after")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert 23 <= float(line.input_value()) <= 27
    clip = "getComputedStyle(document.querySelector('#slider .after')).clipPath"
    assert page.evaluate(clip) == f"inset(0px 0px 0px {line.input_value()}%)"
    line.press("ArrowRight")
    assert 24 <= float(line.input_value()) <= 28
    assert page.evaluate(clip) == f"inset(0px 0px 0px {line.input_value()}%)"
    page.click("#slider button")
    assert page.evaluate("document.querySelector('#slider .after').getBoundingClientRect().width") == 512


def test_the_result_is_announced_and_in_view(page: Page, site: Site) -> None:
    site.engine.measured("lite", {4: 0.001})
    _drop(page, ("a.png", picture(RED, (100, 60))))
    expect(page.locator("#about")).to_contain_text("a.png: 100 x 60 px. Result: 400 x 240 px, in about")
    _fill(page, "Value", "2")
    expect(page.locator("#about")).to_contain_text("Result: 200 x 120 px, in about")
    _fill(page, "Value", "900")
    expect(page.locator("#about [role=alert]")).to_contain_text("is the limit")
    _fill(page, "Value", "4")
    page.click("#run")
    expect(page.locator("#download")).to_contain_text("PNG")
    page.wait_for_function("[...document.querySelectorAll('#slider img')].every(i => i.naturalWidth == 400)")
    expect(page.locator("#slider .lp-pair")).to_be_in_viewport(ratio=0.99)


def test_a_preview_is_of_the_part_that_was_clicked(page: Page) -> None:
    halves = Image.new("RGB", (140, 100), RED)
    halves.paste(BLUE, (70, 0, 140, 100))
    out = io.BytesIO()
    halves.save(out, "PNG")
    _drop(page, ("halves.png", out.getvalue()))
    expect(page.locator("#about")).to_contain_text("140 x 100")

    def shown() -> list[str]:
        return page.evaluate(
            """() => {
            const after = document.querySelector('#slider .after');
            if (after?.naturalWidth != 384) return [];
            const c = document.createElement('canvas'); c.width = c.height = 384;
            const d = c.getContext('2d'); d.drawImage(after, 0, 0);
            return [5, 140, 378].map(x => { const [r, , b] = d.getImageData(x, 190, 1, 1).data;
            return r > b ? 'red' : 'blue' }) }"""
        )

    page.click("#preview")
    until(lambda: shown() == ["red", "red", "blue"], 60)  # columns 22 to 118
    expect(page.locator("#facts")).to_contain_text("A preview of halves.png: a part of 384 x 384 px")
    expect(page.locator("#download")).to_be_hidden()
    box = page.locator("#photo img").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2 + 68, box["y"] + box["height"] / 2)  # small ones are not enlarged
    until(lambda: shown() == ["red", "blue", "blue"], 60)  # columns 44 to 140


@pytest.mark.parametrize("tab", ["Photo", "Batch", "Advanced"])
def test_the_page_is_usable_without_a_mouse_and_with_a_screen_reader(page: Page, tab: str) -> None:
    """Checked by axe-core. One finding is of Gradio's file list: an input within the button to add files."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    if tab == "Photo":
        _drop(page, ("a.png", picture(RED)))
        page.click("#run")
        expect(page.locator("#download")).to_contain_text("PNG")
    page.get_by_role("tab", name=tab).click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # colours change slowly
    found = axe.Axe().run(page).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical") and each["id"] != "nested-interactive"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in grave] == []


def test_a_picture_that_browsers_do_not_show(page: Page, site: Site) -> None:
    _drop(page, ("a b.TIF", picture(RED, (12, 10), kind="TIFF")))
    expect(page.locator("#about img")).to_be_visible()
    expect(page.locator("#photo .image-frame img")).to_have_count(1)
    expect(page.locator("#photo .image-frame img")).to_be_hidden()
    page.click("#run")
    expect(page.locator("#facts")).to_contain_text("48 x 40")


def test_what_cannot_be_done_is_told_in_a_sentence(page: Page, site: Site) -> None:
    page.click("#run")
    expect(page.locator("#status [role=alert]")).to_contain_text("no photograph yet")
    for name, data, words in (
        ("bomb.png", declaring(60_000, 60_000), "limit"),
        ("large.png", picture(RED, (200, 100)), "17,000 is the limit"),
        ("heavy.png", bytes(250_000), "send a smaller"),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "an SVG drawing"),
        ("text.jpg", b"words, not pixels", "not an image"),
        ("empty.jpg", b"", "empty"),
    ):
        _drop(page, (name, data))
        expect(page.locator("#about [role=alert]")).to_contain_text(words)
        expect(page.locator("#about [role=alert]")).to_contain_text(name)
        if name == "text.jpg":
            expect(page.locator("#photo .image-frame img")).to_be_hidden()
        page.click("#run")
        expect(page.locator("#status [role=alert]")).to_contain_text(words)
    assert str(site.desk.uploads) not in page.inner_text("body")
    page.troubles.clear()  # type: ignore[attr-defined]  # the browser could not show these either
    _drop(page, ("good.png", picture(BLUE, (12, 10))))
    page.click("#run")
    expect(page.locator("#facts")).to_contain_text("48 x 40")
    page.click("text=More settings >> visible=true")
    for field, value, words in (("Value", "0", "above 0"), ("Value", "", "is empty"), ("Seed", str(2**53), "exactly")):
        _fill(page, field, value)
        page.click("#run")
        expect(page.locator("#status [role=alert]")).to_contain_text(words)
        _fill(page, "Value", "4")


def test_a_result_is_not_beside_another_photograph(page: Page, site: Site) -> None:
    _drop(page, ("a.png", picture(RED)))
    page.click("#run")
    expect(page.locator("#facts")).to_contain_text("a.png")
    _drop(page, ("b.png", picture(BLUE)))
    expect(page.locator("#about")).to_contain_text("b.png")
    for part in ("#slider", "#download"):
        expect(page.locator(part)).to_be_hidden()
    expect(page.locator("#empty")).to_be_visible()
    site.models.gate.clear()
    page.click("#run")
    expect(page.locator("#queue")).to_contain_text("at work")
    _drop(page, ("c.png", picture(GREEN)))
    expect(page.locator("#about")).to_contain_text("c.png")
    site.models.gate.set()
    expect(page.locator("#facts")).to_contain_text("This result is of b.png")


def test_a_download_is_that_of_the_format_shown(page: Page, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on = threading.Event()
    convert = pictures.converted
    monkeypatch.setattr(pictures, "converted", lambda *given: going_on.wait(60) and convert(*given))
    _drop(page, ("a.png", picture(RED)))
    page.click("#run")
    expect(page.locator("#download")).to_contain_text("PNG")
    old = next(path for path in site.desk.shown.rglob("a_48x40.png"))
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    page.get_by_label("Format").first.click()
    page.get_by_role("option", name="tiff").click()
    expect(page.locator("#download")).to_contain_text("Converting")  # before the server has even heard of it
    for route in held:
        route.continue_()
    page.unroute("**/queue/join*")
    for name in ("jpeg", "webp"):
        page.get_by_label("Format").first.click()
        page.get_by_role("option", name=name).click()
        expect(page.locator("#download")).to_contain_text("Converting")
        expect(page.locator("#download")).to_be_disabled()
    assert old.exists()
    going_on.set()
    expect(page.locator("#download")).to_contain_text("WEBP")
    assert _fetched(page, "#download")[0] == "a_48x40.webp"


def test_a_page_of_an_earlier_server_says_so(page: Page) -> None:
    page.reload()
    page.wait_for_selector("#run")
    expect(page.locator("#restarted")).to_have_count(0)
    page.evaluate("sessionStorage.setItem('lpnsr-server', 'another')")
    page.reload()
    expect(page.locator("#restarted")).to_contain_text("The server was restarted")
    page.click("#restarted button")
    expect(page.locator("#restarted")).to_have_count(0)


def test_two_visitors_at_once(browser: Browser, site: Site) -> None:
    with browser.new_context() as one, browser.new_context() as two:
        first, second = _opened(one.new_page(), site), _opened(two.new_page(), site)
        site.models.gate.clear()
        _drop(first, ("red.png", picture(RED)))
        first.click("#run")
        expect(first.locator("#status")).to_contain_text("Working")
        _drop(second, ("blue.png", picture(BLUE)))
        second.click("#run")
        expect(second.locator("#status")).to_contain_text("Waiting: next in the queue")
        expect(second.locator("#queue")).to_contain_text("at work, 1 waiting")
        assert site.models.most_at_work == 1
        first.click("#stop")
        expect(first.locator("#status")).to_contain_text("Cancelled")
        expect(second.locator("#status")).to_contain_text("Working")
        site.models.gate.set()
        name, data = _fetched(second, "#download")
        assert name.startswith("blue")
        assert max(abs(a - b) for a, b in zip(colour_of(data), BLUE, strict=True)) < 3
        expect(first.locator("#slider")).to_have_count(0)
        assert not first.is_visible("#download")


def test_who_leaves_takes_no_device_with_them(browser: Browser, site: Site) -> None:
    context = browser.new_context()
    page = _opened(context.new_page(), site)
    site.models.gate.clear()
    _drop(page, ("red.png", picture(RED)))
    page.click("#run")
    until(lambda: site.models.at_work == 1, 60)
    context.close()
    until(lambda: site.models.at_work == 0, 60)
    site.models.gate.set()
    assert site.engine.unfinished() == []


def _zip(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_batch(page: Page, site: Site) -> None:
    hostile = _zip(
        **{
            "../../../tmp/escape.png": picture(GREEN),
            "/etc/absolute.png": picture(BLUE),
            "deep/y.png": picture(RED),
            "bomb.png": bytes(5_000_000),
            "__MACOSX/._x.png": b"no",
        }
    )
    page.get_by_role("tab", name="Batch").click()
    _drop(page, ("x.png", picture(RED)), ("words.txt", b"words"), ("more.zip", hostile), into="files")
    expect(page.locator("#files")).to_contain_text("more")
    page.click("#batch-run")
    expect(page.locator("#batch-status")).to_contain_text("3 upscaled, 1 the same as another, 2 failed")
    _, data = _fetched(page, "#batch-download")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert sorted(archive.namelist()) == [
            "etc/absolute_48x40.png",
            "report.csv",
            "tmp/escape_48x40.png",
            "x_48x40.png",
        ]
        assert max(abs(a - b) for a, b in zip(colour_of(archive.read("x_48x40.png")), RED, strict=True)) < 3
        report = archive.read("report.csv").decode()
    assert re.search("bomb.png,failed,,.*limit", report)
    assert "deep/y.png,same,x_48x40.png,same as x.png" in report
    names = ["x.png", "words.txt", "tmp/escape.png", "etc/absolute.png", "deep/y.png", "bomb.png"]
    assert [line.partition(",")[0] for line in report.splitlines()[1:]] == names
    assert re.search("words.txt,failed,,.*not an image", report)
    page.click("#batch-run")
    expect(page.locator("#batch-status")).to_contain_text("1 the same as another, 3 finished before, 2 failed")
    expect(page.locator("#batch-list img")).to_have_count(3)


def test_a_batch_that_is_cancelled_goes_on_where_it_was(page: Page, site: Site) -> None:
    page.get_by_role("tab", name="Batch").click()
    colours = [(10 * n, 90, 30) for n in range(4)]
    _drop(page, *((f"{n}.png", picture(colour)) for n, colour in enumerate(colours)), into="files")
    expect(page.locator("#files")).to_contain_text("3")
    site.models.behaviour = lambda photo: site.models.gate.clear() if photo.pixels[0, 0, 0] == 10 else None
    page.click("#batch-run")
    expect(page.locator("#batch-status")).to_contain_text("2 of 4")
    page.click("#batch-stop")
    expect(page.locator("#batch-status")).to_contain_text("2 upscaled, 2 cancelled")
    until(lambda: site.models.at_work == 0)
    site.models.behaviour = lambda photo: None
    site.models.gate.set()
    page.click("#batch-run")
    expect(page.locator("#batch-status")).to_contain_text("2 upscaled, 2 finished before")
    _, data = _fetched(page, "#batch-download")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == 5


def test_what_the_model_thinks(page: Page) -> None:
    page.get_by_role("tab", name="Advanced").click()
    _drop(page, ("a.png", picture(GREEN, (40, 32))), into="thoughts-photo")
    page.click("#thoughts-run")
    expect(page.locator("#thoughts h3")).to_have_text(
        ["The photograph and the start", *(f"Step t = {t}" for t in (4, 3, 2, 1))]
    )
    assert page.locator("#thoughts figure").count() == 3 + 3 * 5 + 2
    page.locator("#thoughts img").last.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('#thoughts img')].at(-1).naturalWidth == 160")
    _, data = _fetched(page, "#thoughts-download")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        steps = json.loads(archive.read("facts.json"))["steps"]
    assert [step["t"] for step in steps] == [4, 3, 2, 1]
    assert all(step["uncertainty_range"][0] > 0 for step in steps[:-1])
    _drop(page, ("b.png", picture(RED, (40, 32))), into="thoughts-photo")
    expect(page.locator("#thoughts .lp-empty")).to_be_visible()
    expect(page.locator("#thoughts-download")).to_be_hidden()


def test_a_phone_scrolls_in_one_direction(browser: Browser, site: Site) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as context:
        page = _opened(context.new_page(), site)
        for tab in ("Photo", "Batch", "Advanced"):
            page.get_by_role("tab", name=tab).click()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_file_but_its_own_can_be_read(site: Site) -> None:
    (site.desk.shown / "x").mkdir(exist_ok=True)
    own = site.desk.shown / "x" / "own.txt"
    own.write_text("mine")
    (site.desk.shown / "x" / "link").symlink_to("/etc/passwd")
    job = site.engine.submit(picture())
    until(lambda: site.engine.status(job).state.ended)
    with httpx.Client(base_url=site.url, timeout=60) as client:
        assert client.get(f"/gradio_api/file={own}").text == "mine"
        for path in (
            "/etc/passwd",
            f"{site.desk.shown}/../../../etc/passwd",
            f"{site.desk.shown}/x/link",
            str(site.engine.result(job)),
            str(Path(__file__)),
            "tests/apps/web/test_browser.py",
            "http://127.0.0.1:9/",
            "https://example.com/",
            "file:///etc/passwd",
        ):
            answer = client.get(f"/gradio_api/file={path}")
            assert answer.status_code == 404, path
            assert "root:" not in answer.text
        for path in (
            "/gradio_api/proxy=https://x.hf.space/",
            "/monitoring",
            "/docs",
            "/gradio_api/openapi.json",
            "/gradio_api/deep_link",
            "/gradio_api/vibe-code",
            "/gradio_api/run-history/buckets",
        ):
            assert client.get(path).status_code == 404, path
        for path in ("/gradio_api/component_server", "/gradio_api/vibe-edit", "/gradio_api/process_recording"):
            assert client.post(path, json={}).status_code == 404, path


def test_calls_that_name_files_of_others(site: Site) -> None:
    with (
        http_server.serving({"a.png": b""}) as (elsewhere, server),
        httpx.Client(base_url=site.url, timeout=60) as client,
    ):
        config = re.search(r"window.gradio_config = (\{.*?\});</script>", client.get("/").text)
        assert config
        first = next(
            d for d in json.loads(config[1])["dependencies"] if d["targets"] and d["targets"][0][1] == "change"
        )
        for path in ("/etc/passwd", f"{elsewhere}/a.png", ["/etc/passwd"]):
            call = {
                "fn_index": first["id"],
                "session_hash": "s",
                "data": [{"path": path, "meta": {"_type": "gradio.FileData"}}],
            }
            for to in ("queue/join", "run/predict"):
                assert client.post(f"/gradio_api/{to}", json=call).status_code == 400, path
        assert server.requests == []
        assert client.post("/gradio_api/queue/join", content=b"{" * 300_000).status_code == 400
        assert client.post("/gradio_api/upload", files={"files": ("a", bytes(400_000))}).status_code == 413


def test_nothing_is_fetched_from_elsewhere(site: Site) -> None:
    with httpx.Client(base_url=site.url, timeout=60) as client:
        answer = client.get("/")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//(?!127)", answer.text)
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", client.get("/theme.css").text)
