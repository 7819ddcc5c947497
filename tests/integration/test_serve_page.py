"""The page of `keyturn serve` in a real browser: what a person sees and presses. Needs Chromium and its driver."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait
from tests.integration.serve_process import LONGEST, Serving, serving

from keyturn import InvalidTokenError, TokenValidator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="chromium and chromedriver are not on PATH")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Page:
    """The page as a person uses it: by what is written on it."""

    def __init__(self, driver: webdriver.Chrome, serving: Serving) -> None:
        self.driver = driver
        self.serving = serving

    def at(self, name: str) -> WebElement:
        """Return the element with this id."""
        return self.driver.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        """Return every element that a selector finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is so, and return it."""
        return WebDriverWait(self.driver, LONGEST, poll_frequency=0.05).until(lambda _: condition())

    def press(self, label: str) -> None:
        """Press the button with this name: what is written on it, or what a screen reader says."""
        (button,) = [b for b in self.all("button") if label in {b.text, b.get_attribute("aria-label")} and b.is_displayed()]
        button.click()

    def published(self) -> list[str]:
        """Return the kids that the page shows as published, and marks the one that signs."""
        return self.driver.execute_script(
            "return [...document.querySelectorAll('#published [data-kid]')]"
            ".map(key => key.dataset.kid + (key.querySelector('.pill.good') ? ' signs' : ''))"
        )

    def done(self, text: str) -> None:
        """Wait until the page tells this."""
        self.wait(lambda: text in self.at("done").text)

    def mint(self) -> str:
        """Press the button and return the token that the page shows then."""
        before = self.at("token").get_attribute("textContent")
        self.press("Mint a token")
        return self.wait(lambda: (text := self.at("token").get_attribute("textContent")) != before and text)

    def size(self, width: int) -> None:
        """Give the window a width, of a telephone if it is narrow."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser of its own, with nothing remembered."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With both paths given, selenium looks for neither on the internet.
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def process() -> Iterator[Serving]:
    """The command, as a person starts it."""
    with serving() as running:
        yield running


@pytest.fixture
def page(driver: webdriver.Chrome, process: Serving) -> Iterator[Page]:
    """The page, just opened; afterwards the browser has complained about nothing."""
    process.act("reset")
    page = Page(driver, process)
    page.size(1200)
    driver.get(process.said["page_url"])
    page.wait(lambda: ["k1 signs"] == page.published())
    yield page
    assert [] == [entry["message"] for entry in driver.get_log("browser") if "status of 409" not in entry["message"]]


def validator(page: Page) -> TokenValidator:
    """Return a validator that has read nothing yet."""
    return TokenValidator(page.serving.said["issuer"], audience="api://test")


def test_a_person_sees_the_published_keys(page: Page) -> None:
    """Kid, algorithm, thumbprint and which one signs, as they are in the key set; the issuer by name, and that it is up."""
    (key,) = page.serving.state()["keys"]
    assert key["thumbprint"] in page.at("published").text
    assert "ES256" in page.at("published").text
    assert (page.serving.said["issuer"], "up") == (page.at("issuer").text, page.at("health").text)


def test_a_person_mints_a_token(page: Page) -> None:
    """What was written into the form is in the token, and a validator accepts it."""
    page.at("subject").send_keys(Keys.CONTROL, "a")
    page.at("subject").send_keys("bob")
    page.at("scopes").send_keys("read write")
    page.all("form summary")[0].click()
    page.at("claims").send_keys('{"email": "<b>bob</b>"}')
    token = validator(page).validate(page.mint())
    assert ("bob", {"read", "write"}, "<b>bob</b>") == (token.subject, token.scopes, token.claims["email"])
    assert '"email": "<b>bob</b>"' in page.at("token-claims").text
    page.done("A token was minted.")


def test_a_person_mints_a_bad_token(page: Page) -> None:
    """The page says what is wrong with it and what keyturn answers, and that is what happens."""
    Select(page.at("bad")).select_by_value("expired")
    assert not page.at("subject").is_enabled()
    with pytest.raises(InvalidTokenError) as caught:
        validator(page).validate(page.mint())
    assert f"keyturn answers it with {caught.value.code}." in page.at("why").text


def test_claims_that_are_no_json_are_told(page: Page) -> None:
    """Nothing is minted, and the field is marked."""
    page.all("form summary")[0].click()
    page.at("claims").send_keys("{")
    page.press("Mint a token")
    page.done("expected an object")
    assert "true" == page.at("claims").get_attribute("aria-invalid")
    assert not page.at("minted").is_displayed()


def test_a_person_rotates(page: Page) -> None:
    """One press publishes a new key that signs; tokens of both keys are good."""
    old = page.mint()
    page.press("Rotate")
    page.done("K2 is published and signs.")
    assert ["k1", "k2 signs"] == page.published()
    judge = validator(page)
    assert ["k1", "k2"] == [judge.validate(token).key_id for token in (old, page.mint())]


def test_a_person_cuts_over(page: Page) -> None:
    """One press leaves one key; a token of the old one is refused by whoever reads the set now."""
    old = page.mint()
    page.press("Cut over")
    page.done("K2 is published alone and signs.")
    assert ["k2 signs"] == page.published()
    judge = validator(page)
    assert "k2" == judge.validate(page.mint()).key_id
    with pytest.raises(InvalidTokenError):
        judge.validate(old)
    assert "Keys that are not published (1)" in page.at("others-title").text


def test_a_person_takes_it_down_and_brings_it_back(page: Page) -> None:
    """The documents fail, the page and its tokens do not, and one press ends it."""
    said = page.serving.said
    page.press("Go down")
    page.wait(lambda: "both documents: answer with 503" == page.at("health").text)
    assert [503, 503] == [page.serving.web.get(said[name]).status_code for name in ("jwks_url", "discovery_url")]
    page.mint()
    page.press("Come back")
    page.wait(lambda: "up" == page.at("health").text)
    assert "k1" == validator(page).validate(page.mint()).key_id
    page.wait(lambda: "503" in page.at("requests").text and "200" in page.at("requests").text)


def test_a_person_chooses_how_it_fails(page: Page) -> None:
    """What can be chosen is what the control API knows, with the documents that it is for."""
    kinds = page.serving.state()["fault_kinds"]
    assert list(kinds) == [option.get_attribute("value") for option in Select(page.at("fault-kind")).options]
    for kind, documents in kinds.items():
        Select(page.at("fault-kind")).select_by_value(kind)
        assert documents == [option.get_attribute("value") for option in Select(page.at("fault-document")).options]
    Select(page.at("fault-kind")).select_by_value("drop_connection")
    Select(page.at("fault-document")).select_by_value("jwks")
    page.press("Go down")
    page.wait(lambda: "key set: drop the connection" == page.at("health").text)
    with pytest.raises(httpx.TransportError):
        page.serving.web.get(page.serving.said["jwks_url"])
    assert 200 == page.serving.web.get(page.serving.said["discovery_url"]).status_code


def test_each_key_has_its_steps(page: Page) -> None:
    """Publish, promote, withhold, restore and retire, by the names that a screen reader says."""
    page.press("Publish one more")
    page.wait(lambda: ["k1 signs", "k2"] == page.published())
    page.press("Promote k2")
    page.wait(lambda: ["k1", "k2 signs"] == page.published())
    page.press("Withhold k1")
    page.wait(lambda: ["k2 signs"] == page.published())
    page.at("others-title").click()
    page.press("Restore k1")
    page.wait(lambda: ["k1", "k2 signs"] == page.published())
    page.press("Retire k1")
    page.wait(lambda: ["k2 signs"] == page.published())
    page.press("Begin anew")
    page.wait(lambda: ["k1 signs"] == page.published())


def test_what_others_do_is_shown(page: Page) -> None:
    """A program that uses the control API is seen by the person who watches."""
    page.serving.act("rotate", kid="<img src=x onerror=alert(1)>")
    page.wait(lambda: ["k1", "<img src=x onerror=alert(1)> signs"] == page.published())
    assert "<img src=x onerror=alert(1)> is published and signs" in page.at("steps").text
    assert [] == page.all("img")


def test_a_fault_that_others_set_is_told_as_it_is(page: Page) -> None:
    """What a program chose is shown, and not what the page itself would have chosen."""
    page.serving.act("fault", kind="down", status=429)
    page.wait(lambda: "key set: answer with 429" == page.at("health").text)
    page.serving.act("fault", kind="slow", delay=0.5)
    page.wait(lambda: "key set: answer 0.5 s late" == page.at("health").text)


def test_a_step_that_fails_is_told(page: Page) -> None:
    """What the control API says stands on the page."""
    page.driver.execute_script("act('promote', {kid: 'gone'})")
    page.done("kid 'gone' is unknown")
    assert "bad" in page.at("done").get_attribute("class").split()


def test_the_keyboard_is_enough(page: Page) -> None:
    """From the top of the page Tab reaches the steps, Enter presses them, and the focus stays where it was."""
    page.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert "rotate" == page.driver.switch_to.active_element.get_attribute("id")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait(lambda: ["k1", "k2 signs"] == page.published())
    assert "rotate" == page.driver.switch_to.active_element.get_attribute("id")
    page.driver.execute_script("document.getElementById('promote k1').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait(lambda: ["k1 signs", "k2"] == page.published())
    assert "BODY" != page.driver.switch_to.active_element.tag_name.upper()


def test_every_control_has_a_name(page: Page) -> None:
    """A screen reader has something to say for each button and each field, as the browser works it out."""
    page.press("Rotate")
    page.wait(lambda: ["k1", "k2 signs"] == page.published())
    controls = page.all("button, input, select, textarea, summary")
    assert len(controls) > 15
    assert [] == [control.get_attribute("id") for control in controls if not control.accessible_name and control.is_displayed()]
    assert "status" == page.at("done").aria_role
    assert "en" == page.all("html")[0].get_attribute("lang")


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_the_page_fits_its_window(page: Page, width: int) -> None:
    """Nothing stands out at the side, on a telephone neither, with a long kid and a long token."""
    page.serving.act("rotate", kid="a-very-long-kid-" * 12)
    page.size(width)
    page.wait(lambda: len(page.published()) == 2)
    page.mint()
    right = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert [] == page.driver.execute_script(f"return {right}.map(e => e.tagName + '#' + e.id)")
    assert width >= page.driver.execute_script("return document.documentElement.scrollWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(page: Page, scheme: str) -> None:
    """Every text stands out from what is behind it by 4.5 to 1 at least, by day and by night (WCAG 2.2, 1.4.3)."""
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    page.press("Cut over")
    page.wait(lambda: ["k2 signs"] == page.published())
    page.press("Go down")
    page.wait(lambda: "Come back" == page.at("fault").text)
    page.mint()
    assert {} == page.driver.execute_script(Path(__file__).with_name("contrast.js").read_text(encoding="utf-8"))
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_command_that_has_ended_is_told(driver: webdriver.Chrome) -> None:
    """The page of a process that is gone says so."""
    with serving() as running:
        page = Page(driver, running)
        driver.get(running.said["page_url"])
        page.wait(lambda: "up" == page.at("health").text)
        running.process.terminate()
        page.wait(lambda: "keyturn serve does not answer" == page.at("health").text)
    driver.get_log("browser")  # Holds the refused connections that this test is about.
