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


@pytest.mark.slow
def test_a_person_finds_their_way(site, browser, tmp_path):
    url, token = site
    wait = Wait(browser, PATIENCE)

    def one(css):
        return wait.until(lambda b: b.find_element(By.CSS_SELECTOR, css))

    # Signing in: a wrong token first.
    browser.get(url)
    assert browser.current_url == f"{url}/login"
    for secret in ("wrong", token):
        one("#token").send_keys(secret)
        one("button.main").click()
        if secret == "wrong":
            assert "The token is unknown" in one("[role=alert]").text
    wait.until(lambda b: b.find_element(By.TAG_NAME, "h1").text == "Studies")
    assert browser.execute_script("return document.cookie") == ""

    # Creating a study: the space is checked while one types.
    browser.get(f"{url}/new")
    wait.until(lambda _: "3 domains, 2 phases" in one("#verdict").text)
    text = one("#study").get_attribute("value")
    one("#study").clear()
    one("#study").send_keys(text.replace("max_epochs: 4", "max_epochs: -4"))
    wait.until(lambda _: "space.max_epochs" in one("#verdict.bad").text)
    one("#study").clear()
    one("#study").send_keys(text)
    wait.until(lambda _: "3 domains" in one("#verdict.good").text)
    shot(browser, "new")
    one("button.main").click()
    wait.until(lambda b: b.current_url == f"{url}/studies/my-mixture")

    # A trial that finishes is seen without loading the page anew.
    service = connect(url, token)
    study = service.create(STUDY)
    browser.get(f"{url}/studies/demo")
    assert "No recommendation yet" in one(".missing").text
    trial = study.ask(1, worker="gpu-7")[0]
    wait.until(lambda _: "gpu-7" in one("#live").text)
    study.tell(trial.id, bowl(trial.schedule, None, trial.seed))
    wait.until(lambda _: "finished\n1\n" in one("#live").text)

    # The recommendation, and an export.
    run_all(study)
    study.recommend()
    service.close()
    browser.get(f"{url}/studies/demo")
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#outcome .main-svg"))
    for width, scheme in ((1200, "light"), (1200, "dark"), (400, "light"), (400, "dark")):
        shot(browser, "study", width=width, scheme=scheme)
    one("button[formaction$='/export/huggingface']").click()
    wait.until(lambda _: list(tmp_path.glob("demo-huggingface.zip")))

    # A slider moved by the keyboard.
    browser.get(f"{url}/studies/demo/what-if")
    cells = "#predictions:not([hidden]) td:nth-child(2)"
    before = one(cells).text
    one("input[type=range]").send_keys("\ue014" * 300)
    wait.until(lambda _: one(cells).text != before)
    shares = [
        float(o.text.split()[0]) for o in browser.find_elements(By.CSS_SELECTOR, ".row output")[1:]
    ]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    shot(browser, "what-if", width=400)

    # What the browser itself noted: no error but the answers that refused something above.
    noted = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert [e for e in noted if e["source"] != "network" or "status of 4" not in e["message"]] == []
    events = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    asked = [urlsplit(p["request"]["url"]) for p in sent]
    assert {a.netloc for a in asked if a.scheme not in ("data", "blob")} == {urlsplit(url).netloc}
