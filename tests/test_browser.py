"""The console in a real browser, over a real `make run`: what a person sees and does.

Pictures of it are kept in .local/screenshots, or where SCREENSHOTS says.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.samples import NOW
from tests.test_local_stack import make_run, ready
from tests.test_pages import Stand

from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks_cli.pages.listing import PAGE
from linkrunner_webhooks_local.project import ROOT
from linkrunner_webhooks_local.recorder import MOST, Recorder

with suppress(ImportError):
    from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PICTURES = Path(os.environ.get("SCREENSHOTS") or ROOT / ".local" / "screenshots")
# Nothing that the browser would ask of the world by itself; and root has no sandbox.
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync",
)  # fmt: skip
# Milliseconds until something is missed.
PATIENCE = 20_000
SALE = "checkout.session.completed"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
    pytest.mark.skipif(
        "sync_playwright" not in globals(), reason="no Playwright: make test has it"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab, which finds nothing wrong with any page."""
    complaints: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(PATIENCE)
        tab = context.new_page()
        tab.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        yield tab
    assert complaints == []


def picture(page: Page, name: str) -> None:
    """What a person sees now, kept for other people."""
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def send(page: Page, user: str, event_type: str = SALE, **more: str) -> None:
    """Fill in the form for one webhook of Stripe's."""
    page.goto(f"{_base(page)}/send?source=stripe")
    page.select_option("select[name=what]", f"type:{event_type}")
    page.fill("[name=user_id]", user)
    for name, value in more.items():
        page.fill(f"[name={name}]", value)
    page.get_by_role("button", name="Send").click()


def linkrunner_is(page: Page, mood: str) -> None:
    """Make the embedded one do something else from now on."""
    page.goto(f"{_base(page)}/send?source=stripe")
    page.select_option("select[name=mood]", mood)
    page.get_by_role("button", name="Change").click()
    expect(page.locator("#linkrunner [role=status]")).to_contain_text("now")


def _base(page: Page) -> str:
    found = re.match(r"http://[^/]+", page.url)
    assert found
    return found[0]


def row(page: Page, number: int, outcome: str) -> Any:
    """The row of a request in the list, as soon as it says so."""
    found = page.locator(f"#r{number}")
    expect(found.locator(".outcome")).to_have_text(outcome, timeout=PATIENCE)
    return found


def test_an_operator_sees_the_guarantees_at_work(page: Page, tmp_path: Path) -> None:
    """Sent, seen to arrive and captured; then Linkrunner is broken, mended, and what was parked redriven."""
    with make_run(tmp_path):
        url = ready(tmp_path).url
        page.goto(url)
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator("#state")).to_have_text("live")
        other = page.context.new_page()
        other.goto(url)

        # It arrives by itself.
        send(other, "user_42", amount="25.99", currency="EUR")
        expect(other.locator("h1")).to_contain_text(SALE)
        row(page, 1, "captured").get_by_role("link").click()
        expect(page.get_by_role("heading", name="Signature")).to_be_visible()
        expect(page.locator("main")).to_contain_text("verified")
        expect(page.locator("main")).to_contain_text("data.object.amount_total")
        picture(page, "story")
        page.keyboard.press("u")

        # Refused: parked, with why and what to do.
        linkrunner_is(other, "refusing")
        send(other, "user_43")
        row(page, 2, "parked")
        # Busy: tried again.
        linkrunner_is(other, "busy")
        send(other, "user_44")
        row(page, 3, "retrying")
        send(other, "", "charge.refunded")
        other.goto(f"{url}/send")
        other.check("[name=unsigned]")
        other.get_by_role("button", name="Send").click()
        expect(other.locator("main")).to_contain_text("not verified")
        expect(other.locator("main")).to_contain_text("Next:")
        row(page, 5, "rejected")
        linkrunner_is(other, "well")
        row(page, 3, "captured")
        page.set_viewport_size({"width": 1280, "height": 440})
        picture(page, "list")

        other.goto(f"{url}/dead-letters")
        expect(other.locator("main")).to_contain_text("refused stripe")
        expect(other.locator(".next")).to_contain_text("Linkrunner refuses the event itself")
        picture(other, "dead-letters")
        other.get_by_role("link", name="Look at it").click()
        other.check("[name=force]")
        other.get_by_role("button", name="Redrive").click()
        expect(other.locator("[role=status]")).to_contain_text("1 put back into the queue")
        row(page, 2, "captured")

        other.goto(f"{url}/numbers")
        expect(other.locator("rect.captured").first).to_be_attached()
        expect(other.locator("main")).to_contain_text("EUR received")
        picture(other, "numbers")
        other.goto(f"{url}/trace?id=user_44")
        expect(other.locator("main")).to_contain_text("purchase_completed 25.99 USD")
        # It would complain that its server is gone.
        page.goto("about:blank")


@pytest.fixture
def full() -> Iterator[Stand]:
    """A console that remembers as much as it can."""
    recorder = Recorder(clock=lambda: NOW)
    for number in range(MOST + 5):
        report = Report(
            stage="receive", outcome=Outcome.QUEUED, source="stripe", event_type=SALE, event_id=str(number)
        )  # fmt: skip
        recorder.heard(NOW, report)
    with Stand("stripe", recorder=recorder).serving() as stand:
        yield stand


def test_ten_thousand_webhooks_fill_no_page(page: Page, full: Stand) -> None:
    """A page holds some of them; new ones push out the oldest; keys move along."""
    page.goto(full.url)
    rows = page.locator("#requests tbody tr")
    expect(rows).to_have_count(PAGE)
    expect(page.locator("#state")).to_have_text("live")
    for _ in range(3):
        full.send(full.sale())
    expect(page.locator(f"#r{MOST + 8}")).to_be_visible()
    expect(rows).to_have_count(PAGE)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/requests/{MOST + 7}")
    page.keyboard.press("u")
    page.get_by_role("link", name="Older").click()
    expect(page.locator(f"#r{MOST + 5 - PAGE}")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it(page: Page, full: Stand, scheme: Any) -> None:
    """Nothing is wider than the screen, by day and by night."""
    full.send(full.sale())
    full.work()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 375, "height": 700})
    for path in ("/", f"/requests/{MOST + 6}", "/send", "/trace"):
        page.goto(full.url + path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 375, path
    page.goto(full.url)
    picture(page, f"phone-{scheme}")
