"""The HTML report in a real browser: Debian's chromium, opened from file://."""

import shutil

import pytest

from trt_int8.report import PrecisionReport

pytest.importorskip("jinja2", reason="jinja2 is not installed")
selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium with chromedriver (apt-get install chromium chromium-driver)",
)

EVIL = "<script>document.title='owned'</script>"
LAYERS = 5000


def log():
    """5,000 layers in a chain; layer 7 has an evil name and is tuned, each tenth is in float."""
    yield f"[W] [TRT] odd {EVIL}"
    yield "[E] [TRT] bad things"
    yield "[V] =============== Computing costs for"
    yield "[V] *************** Autotuning format combination: Int8(64,64:4,8,1) -> Int8(64,64:4,8,1) ***************"
    yield f"[V] --------------- Timing Runner: {EVIL} (CaskConvolution)"
    yield "[V] Tactic: 0x02 Time: 0.020"
    yield "[V] Fastest Tactic: 0x02 Time: 0.020"
    yield "[V] *************** Autotuning format combination: Float(192,64,8,1) -> Float(256,64,8,1) ***************"
    yield f"[V] --------------- Timing Runner: {EVIL} (CaskConvolution)"
    yield "[V] Tactic: 0x01 Time: 0.010"
    yield "[V] Fastest Tactic: 0x01 Time: 0.010"
    yield "[V] Engine Layer Information:"
    for index in range(LAYERS):
        name = EVIL if index == 7 else f"conv{index:04d}"
        dtype = "Float" if index == 7 or index % 10 == 0 else "Int8"
        yield (
            f"Layer(CaskConvolution): {name}, Tactic: 0x01, t{index} ({dtype}[1,3,8,8]) -> "
            f"t{index + 1} ({dtype}[1,3,8,8])"
        )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1400,1000",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    page = folder / "report.html"
    page.write_text(PrecisionReport.from_lines(log()).to_html(), encoding="utf-8")
    driver.get(page.as_uri())
    yield driver
    driver.quit()


def shown(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#layers tbody tr')].filter(row => !row.hidden)"
        ".map(row => row.cells[0].textContent)"
    )


def test_the_page_opens_with_the_answer_and_every_layer(browser):
    assert browser.find_element(
        By.ID, "headline"
    ).text == "4499 of 5000 Conv, Gemm and MatMul nodes run in INT8" or (
        browser.find_element(By.ID, "headline").text == "4499 of 5000 compute kernels run in INT8"
    )
    assert len(shown(browser)) == LAYERS
    assert browser.execute_script("return document.querySelectorAll('#graph .node').length") == LAYERS
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_filter_and_selects_narrow_the_table(browser):
    field = browser.find_element(By.ID, "filter")
    field.send_keys("CONV00")
    names = shown(browser)
    assert len(names) == 99  # conv0000 to conv0099, without the seventh
    precision = Select(browser.find_element(By.ID, "precision"))
    precision.select_by_value("fp32")
    assert shown(browser) == [f"conv{index:04d}" for index in range(0, 100, 10)]
    assert browser.find_element(By.ID, "count").text == "10 of 5000 layers"
    field.clear()
    field.send_keys(" \b")
    precision.select_by_value("")
    assert len(shown(browser)) == LAYERS


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_it_round(browser):
    button = browser.find_element(By.CSS_SELECTOR, "#layers thead th:nth-child(1) button")
    button.click()
    names = shown(browser)
    rest = [name for name in names if name != EVIL]
    assert rest == sorted(rest)
    button.click()
    rest = [name for name in shown(browser) if name != EVIL]
    assert rest == sorted(rest, reverse=True)


def test_an_evil_name_is_text_and_its_layer_opens(browser):
    row = browser.find_element(By.CSS_SELECTOR, "#layers tbody tr[data-index='7']")
    assert row.find_elements(By.TAG_NAME, "td")[0].text == EVIL
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", row)
    row.click()
    detail = browser.find_element(By.ID, "detail")
    assert detail.find_element(By.ID, "detail-name").text == EVIL
    assert "slower: best INT8 tactic: 0.02 ms" in detail.text
    assert "Candidates (2)" in detail.text
    assert "Fastest Tactic: 0x02 Time: 0.020" in detail.text
    assert browser.title.startswith("Precision report")
    assert browser.execute_script("return document.querySelectorAll('script').length") == 2


def test_warnings_and_errors_are_listed(browser):
    said = browser.find_element(By.ID, "complaints")
    assert said.text == "2 warnings"
    said.find_element(By.TAG_NAME, "summary").click()
    lines = [line.text for line in said.find_elements(By.TAG_NAME, "li")]
    assert lines == [f"warning: odd {EVIL} (line 1)", "error: bad things (line 2)"]


def test_a_click_in_the_graph_opens_the_layer(browser):
    browser.execute_script(
        "document.querySelectorAll('#graph .node')[3].dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert browser.find_element(By.ID, "detail-name").text == "conv0003"
    assert browser.execute_script("return document.querySelector('tr.picked').dataset.index") == "3"


def test_dark_mode_turns_the_page_dark(browser):
    def background():
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = background()
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    assert light == "rgb(255, 255, 255)"
    assert background() == "rgb(13, 17, 23)"


def test_nothing_is_fetched(browser):
    names = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert names == []
