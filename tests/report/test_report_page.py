# SPDX-License-Identifier: Apache-2.0
"""The report in a browser, opened from the disk, at desktop and at phone width."""

import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.report import Input, registration_report, reuse_commands

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: the report is not opened in a browser")

DESKTOP, PHONE = (1400, 900), (390, 844)
SPECIAL = 'it\'s <b>&amp; "T1" $x.nii.gz'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium: the report is not opened in a browser")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def report(tmp_path: Path, volumes: dict[str, np.ndarray], metrics: dict[str, Any]) -> Path:
    metrics["moving"] |= {"path": f"/data/{SPECIAL}", "warnings": ["<script>alert(1)</script>"]}
    path = tmp_path / "report.html"
    commands = reuse_commands(Input(metrics["fixed"]["path"]), Input(metrics["moving"]["path"]), "/out")
    registration_report(path, **volumes, metrics=metrics, commands=commands)
    return path


@pytest.fixture
def open_page(browser: Any, report: Path) -> Iterator[Callable]:
    """A function that opens the report. An error in the browser or a request to the network fails the test."""
    problems, contexts = [], []

    def open_(size: tuple[int, int] = DESKTOP, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"failed: {request.url[:80]}"))
        page.on("request", lambda request: None if is_own(request.url, report) else problems.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


def is_own(url: str, report: Path) -> bool:
    return url == report.as_uri() or url.startswith("data:")


def shown(page: Any) -> np.ndarray:
    """Pixels of the middle of the first picture of the comparison, where the brain is."""
    png = page.locator("button.frame").first.screenshot(style=".name { visibility: hidden }")
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(int)
    rows, columns = pixels.shape
    return pixels[rows // 8 : -rows // 8, columns // 8 : -columns // 8]


def differ(first: np.ndarray, second: np.ndarray) -> bool:
    return np.abs(first - second).mean() > 1


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_load_and_the_page_fits_the_width(open_page: Callable, size: tuple[int, int], scheme: str) -> None:
    page = open_page(size, color_scheme=scheme)
    pictures = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth, i.alt.length])")
    assert len(pictures) == 21
    assert all(complete and min(rest) > 0 for complete, *rest in pictures)
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]


def test_verdict_is_visible_without_scrolling(open_page: Callable) -> None:
    for size in (DESKTOP, PHONE):
        badge = open_page(size).locator(".badge")
        assert badge.inner_text() == "✓ Pass"
        box = badge.bounding_box()
        assert box["y"] + box["height"] < size[1]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_click_switches_between_before_and_after(open_page: Callable, size: tuple[int, int]) -> None:
    page = open_page(size, has_touch=size == PHONE)
    frame = page.locator("button.frame").first
    press = frame.tap if size == PHONE else frame.click
    after, place = shown(page), frame.bounding_box()
    press()
    assert differ(shown(page), after)
    assert page.locator(".name").first.inner_text() == "before"
    press()
    assert not differ(shown(page), after)
    assert frame.bounding_box() == place


def test_buttons_and_keys_choose_an_image(open_page: Callable) -> None:
    page = open_page()
    by_button = {}
    for image in ("Fixed", "Before", "After"):
        page.get_by_role("button", name=image, exact=True).click()
        assert page.locator("#compare [aria-pressed=true]").inner_text() == image
        by_button[image] = shown(page)
    assert all(differ(by_button[a], by_button[b]) for a, b in itertools.combinations(by_button, 2))
    for key, image in (("1", "Fixed"), ("2", "Before"), ("3", "After"), ("f", "Before"), ("f", "After")):
        page.keyboard.press(key)
        assert not differ(shown(page), by_button[image])


def test_click_switches_to_the_image_shown_before(open_page: Callable) -> None:
    page = open_page()
    page.keyboard.press("1")
    frame = page.locator("button.frame").first
    seen = []
    for _ in range(3):
        frame.click()
        seen.append(page.locator(".name").first.inner_text())
    assert seen == ["after", "fixed", "after"]


def test_play_alternates_until_it_is_stopped(open_page: Callable) -> None:
    page = open_page()
    play = page.locator("#play")
    play.click()
    for image in ("before", "after", "before"):
        page.locator(f"#compare[data-shown={image}]").wait_for()
    for stop in (play, page.locator("button.frame").first):
        assert play.inner_text() == "Stop"
        stop.click()
        assert play.inner_text() == "Play"
        assert play.get_attribute("aria-pressed") == "false"
        play.click()


def test_keyboard_alone_switches_the_image(open_page: Callable) -> None:
    page = open_page()
    page.locator("button.frame").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".name").first.inner_text() == "before"
    assert page.locator("#shown").inner_text() == "showing before"


def test_copy_buttons_copy_the_commands(open_page: Callable) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    commands = reuse_commands(Input("/data/sub-01/T1.nii.gz"), Input(f"/data/{SPECIAL}"), "/out")
    buttons = page.locator(".copy")
    assert buttons.count() == len(commands)
    for index, command in enumerate(commands):
        buttons.nth(index).click()
        buttons.nth(index).filter(has_text="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == command.text


def test_without_clipboard_the_command_is_selected(open_page: Callable) -> None:
    page = open_page()
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject() }")
    button = page.locator(".copy").nth(1)
    button.click()
    button.filter(has_text="Selected").wait_for()
    assert page.evaluate("getSelection().toString()").startswith("antsApplyTransforms -d 3 -i ")


def test_names_with_html_are_shown_as_text(open_page: Callable) -> None:
    page = open_page()
    assert SPECIAL.removesuffix(".nii.gz") in page.locator("h1").inner_text()
    assert page.locator("b, script").count() == page.locator(".tiles b").count() + 1
    assert "<script>alert(1)</script>" in page.locator(".warnings").inner_text()


def test_details_open(open_page: Callable) -> None:
    page = open_page()
    assert not page.get_by_text("versions: torch").is_visible()
    page.locator("summary").click()
    assert page.get_by_text("versions: torch").is_visible()


def test_print_shows_all_three_images_and_no_buttons(open_page: Callable) -> None:
    page = open_page()
    page.emulate_media(media="print")
    boxes = [image.bounding_box()["y"] for image in page.locator("button.frame").first.locator("img").all()]
    assert len(set(boxes)) == 3
    assert not page.locator(".copy").first.is_visible()
    assert page.pdf().startswith(b"%PDF")
