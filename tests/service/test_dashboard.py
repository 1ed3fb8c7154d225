"""The dashboard in Debian's Chromium, driven as a person would: no error, no other host."""

import json
import os
import shutil
from urllib.parse import urlsplit

import pytest
from served import STUDY, run_all
from small_study import bowl

from mixopt.service.client import connect
from mixopt.study import Storage
from mixopt.study.storage.access_tokens import Scope, create_token

selenium = pytest.importorskip("selenium.webdriver")
By = pytest.importorskip("selenium.webdriver.common.by").By
Wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
Stale = pytest.importorskip("selenium.common.exceptions").StaleElementReferenceException

PATIENCE = 120
# Screenshots are kept where this names a folder.
SHOTS = os.environ.get("MIXOPT_SCREENSHOTS")


@pytest.fixture
def site(listening, file_url):
    """A server on a port of its own, with a token."""
    store = Storage(file_url)
    token = create_token(store, "ann", Scope.admin)
    store.close()
    return listening(file_url), token


@pytest.fixture
def browser(tmp_path):
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        pytest.skip("Debian's chromium and chromium-driver are not installed")
    options = selenium.ChromeOptions()
    options.binary_location = programs[0]
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument("--window-size=1200,1600")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    driver = selenium.Chrome(options, selenium.ChromeService(programs[1]))
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


def shot(browser, name, *, width=1200, scheme="light"):
    """Keep a picture where they are asked for; a page is never wider than its window."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size = {"width": width, "height": 1400, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wide = "return document.documentElement.scrollWidth"
    # Figures follow a moment later.
    Wait(browser, PATIENCE).until(lambda b: b.execute_script(wide) <= width)
    if SHOTS:
        browser.save_screenshot(f"{SHOTS}/{name}-{width}-{scheme}.png")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


class Visitor:
    """Somebody at a browser, who waits for what they look for."""

    def __init__(self, browser, url):
        self.browser, self.url = browser, url
        # What was found may belong to the page that is just being left.
        self.until = Wait(browser, PATIENCE, ignored_exceptions=(Stale,)).until

    def opens(self, path):
        self.browser.get(self.url + path)

    def one(self, css):
        return self.until(lambda b: b.find_element(By.CSS_SELECTOR, css))

    def reads(self, text, css):
        self.until(lambda _: text in self.one(css).text)

    def types(self, text, css):
        self.one(css).clear()
        self.one(css).send_keys(text)


def signs_in(visitor, token):
    """With a wrong token first."""
    visitor.opens("")
    assert visitor.browser.current_url == f"{visitor.url}/login"
    visitor.types("wrong", "#token")
    visitor.one("button.main").click()
    visitor.reads("The token is unknown", "[role=alert]")
    visitor.types(token, "#token")
    visitor.one("button.main").click()
    visitor.reads("Studies", "h1")
    assert visitor.browser.execute_script("return document.cookie") == ""


def creates_a_study(visitor):
    """The space is checked while one types."""
    visitor.opens("/new")
    visitor.reads("3 domains, 2 phases", "#verdict")
    text = visitor.one("#study").get_attribute("value")
    visitor.types(text.replace("max_epochs: 4", "max_epochs: -4"), "#study")
    visitor.reads("space.max_epochs", "#verdict.bad")
    visitor.types(text, "#study")
    visitor.reads("3 domains", "#verdict.good")
    shot(visitor.browser, "new")
    visitor.one("button.main").click()
    visitor.until(lambda b: b.current_url == f"{visitor.url}/studies/my-mixture")


def sees_a_trial_finish(visitor, study):
    """Without loading the page anew."""
    visitor.opens("/studies/demo")
    assert "No recommendation yet" in visitor.one(".missing").text
    trial = study.ask(1, worker="gpu-7")[0]
    visitor.reads("gpu-7", "#live")
    study.tell(trial.id, bowl(trial.schedule, None, trial.seed))
    visitor.reads("finished\n1\n", "#live")


def takes_the_recommendation(visitor, folder):
    visitor.opens("/studies/demo")
    visitor.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#outcome .main-svg"))
    for width, scheme in ((1200, "light"), (1200, "dark"), (400, "light"), (400, "dark")):
        shot(visitor.browser, "study", width=width, scheme=scheme)
    visitor.one("button[formaction$='/export/huggingface']").click()
    visitor.until(lambda _: list(folder.glob("demo-huggingface.zip")))


def moves_a_slider(visitor):
    """By the keyboard."""
    visitor.opens("/studies/demo/what-if")
    cells = "#predictions:not([hidden]) td:nth-child(2)"
    before = visitor.one(cells).text
    visitor.one("input[type=range]").send_keys("\ue014" * 300)
    visitor.until(lambda _: visitor.one(cells).text != before)
    outputs = visitor.browser.find_elements(By.CSS_SELECTOR, ".row output")[1:]
    assert sum(float(o.text.split()[0]) for o in outputs) == pytest.approx(100, abs=0.3)
    shot(visitor.browser, "what-if", width=400)


def require_nothing_noted(browser, url):
    """No error but the answers that refused something, and no request to another host."""
    noted = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert [e for e in noted if e["source"] != "network" or "status of 4" not in e["message"]] == []
    events = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    asked = [urlsplit(p["request"]["url"]) for p in sent]
    assert {a.netloc for a in asked if a.scheme not in ("data", "blob")} == {urlsplit(url).netloc}


@pytest.mark.slow
def test_a_person_finds_their_way(site, browser, tmp_path):
    url, token = site
    visitor = Visitor(browser, url)
    signs_in(visitor, token)
    creates_a_study(visitor)
    service = connect(url, token)
    study = service.create(STUDY)
    sees_a_trial_finish(visitor, study)
    run_all(study)
    study.recommend()
    service.close()
    takes_the_recommendation(visitor, tmp_path)
    moves_a_slider(visitor)
    require_nothing_noted(browser, url)
