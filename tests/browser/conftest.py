"""The fixtures `browser` (a real headless Chromium) and `visit` (one page)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Request, Response, sync_playwright
from visits import Visit

from tests.conftest import Registered
from tinyunet.devtools import doctor

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium or Chrome, shared by the tests of a module: while it runs, no other test can use asyncio."""
    path = doctor.browser()
    assert path, f"none of {', '.join(doctor.BROWSERS)} is installed: run .ci/setup --browser"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def evaluation(registered: Registered) -> Path:
    """The evaluation of the registered model, so that no second model is trained."""
    return registered.evaluation


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A new page of 1280×900 pixels that records its requests and errors."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    result = Visit(context.new_page())

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            result.errors.append(message.text)

    def on_failed(request: Request) -> None:
        result.errors.append(f"{request.url[:200]}: {request.failure}")

    def on_response(response: Response) -> None:
        if response.status >= 400:
            result.errors.append(f"{response.url[:200]}: HTTP {response.status}")

    result.page.on("console", on_console)
    result.page.on("pageerror", lambda error: result.errors.append(str(error)))
    result.page.on("request", lambda request: result.requests.append(request.url))
    result.page.on("requestfailed", on_failed)
    result.page.on("response", on_response)
    yield result
    context.close()
