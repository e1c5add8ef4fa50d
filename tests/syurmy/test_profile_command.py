"""``profile``: the table, JSON, the trace, and the report driven in a browser from box to source."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from syurmy.cli import app
from syurmy.compiler import compile_onnx
from tests.compiler.harness import floats, helper, model_of

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NAME = "</script><b><a href='mailto:a@b.org'>first"
HEADLESS = ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update",
            "disable-sync", "no-first-run", "window-size=1280,1000")  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``m.onnx``, what it compiles to, and an input beyond what it was calibrated on."""
    folder = tmp_path_factory.mktemp("profile")
    r = np.random.default_rng(5)
    x = floats(r, 4, 2, 6)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name=NAME),
             helper.make_node("Relu", ["h"], ["r"], name="cut"),
             helper.make_node("MatMul", ["r", "v"], ["y"], name="last")]  # fmt: skip
    weights = {"w": floats(r, 6, 8), "v": floats(r, 8, 3)}
    onnx.save(model_of(nodes, {"x": x[0]}, ["y"], weights), folder / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile_onnx(folder / "m.onnx", folder / "m", calibrate={"x": x})
    np.save(folder / "big.npy", 9 * x[0])
    return folder


@pytest.fixture(scope="module")
def report(model: Path) -> Path:
    files = {"--input": "big.npy", "--model": "m.onnx", "--html": "r.html", "--trace": "t.json"}
    options = ["profile", str(model / "m" / "model.tasm"), "--json"]
    for name, file in files.items():
        options += [name, str(model / file)]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    (model / "said.json").write_text(done.stdout)
    return model / "r.html"


def test_json_holds_rows_that_add_up(report: Path) -> None:
    said = json.loads((report.parent / "said.json").read_text())
    assert said["by"] == "node"
    assert sum(r["bytes"] for r in said["rows"]) == said["totals"]["bytes"] == said["proof_bytes"]
    names = [r["name"] for r in said["rows"]]
    assert "Relu cut" in names
    assert "MatMul last" in names
    assert json.loads((report.parent / "t.json").read_text())["traceEvents"]


def test_the_table_names_lines_and_keeps_nothing() -> None:
    done = CliRunner().invoke(app, ["profile", "programs/binary_search.tasm", "--top", "3"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["place", "runs", "leaves"]
    assert any(" more (--top)" in line for line in lines)
    assert any(line.startswith("total") for line in lines)
    assert not Path("programs/binary_search.proof").exists()


def test_only_its_owner_reads_the_report(report: Path) -> None:
    """It shows what private tensors hold; the timeline does not."""
    assert report.stat().st_mode & 0o777 == 0o600
    assert (report.parent / "t.json").stat().st_mode & 0o777 == 0o644


def test_a_report_needs_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    done = CliRunner().invoke(app, ["profile", "programs/binary_search.tasm", "--html", str(tmp_path / "r.html")])
    assert done.exit_code == 2
    assert "X151" in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_the_report_is_one_page_without_a_network(report: Path) -> None:
    text = report.read_text()
    own = text[: text.index("<script>")] + text[text.index('<script id="data"') :]
    assert "http" not in own.replace("http-equiv", "")
    assert "<!--" not in own
    assert text.count("</script>") == 3  # what a model is called is data


@pytest.fixture(scope="module")
def browser(report: Path) -> Iterator[Any]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for name in HEADLESS:
        options.add_argument(f"--{name}")
    options.binary_location = CHROMIUM
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.get(report.as_uri())
        yield driver
    finally:
        driver.quit()


@pytest.mark.slow
def test_every_chart_is_drawn_without_an_error(browser: Any) -> None:
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    for chart in ("treemap", "graph", "timeline", "histogram", "budget"):
        assert browser.execute_script(f"return document.querySelectorAll('#{chart} .main-svg').length"), chart
    assert browser.execute_script("return document.querySelectorAll('#source div').length") > 5


@pytest.mark.slow
def test_a_click_leads_from_box_to_source_and_node(browser: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    boxes = browser.find_elements(By.CSS_SELECTOR, "#treemap g.slice")
    (box,) = [b for b in boxes if "Relu cut" in b.text]
    ActionChains(browser).move_to_element(box).click().perform()
    assert browser.find_element(By.ID, "chosen").text == "Relu cut"
    marked = [e.text for e in browser.find_elements(By.CSS_SELECTOR, "#source .marked")]
    assert marked
    assert all("r.re" in line for line in marked)


@pytest.mark.slow
def test_names_are_no_markup_and_rows_answer_to_keys(browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    assert browser.find_elements(By.CSS_SELECTOR, ".chart a, .chart b") == []
    assert any(NAME in e.text for e in browser.find_elements(By.CSS_SELECTOR, "#graph text"))
    (row,) = browser.find_elements(By.XPATH, "//table[@id='costs']//tr[td[contains(., 'MatMul last')]]")
    row.send_keys(Keys.ENTER)
    assert browser.find_element(By.ID, "chosen").text == "MatMul last"
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    width = "return document.querySelector('#timeline .main-svg').getBoundingClientRect().width"
    assert browser.execute_script(width) == 660
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(width) > 1000


@pytest.mark.slow
def test_a_click_in_the_graph_leads_there_too(browser: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    nodes = browser.execute_script("return data.graph.nodes.map((n) => n[2])")
    points = browser.find_elements(By.CSS_SELECTOR, "#graph path.point")
    assert len(points) == len(nodes)
    at = nodes.index("MatMul last")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", points[at])
    ActionChains(browser).move_to_element(points[at]).pause(0.3).click().perform()
    assert browser.find_element(By.ID, "chosen").text == "MatMul last"


@pytest.mark.slow
def test_the_comparison_says_where_the_error_begins(browser: Any) -> None:
    assert browser.execute_script("return document.getElementById('comparison-text').textContent") == (
        "The error begins at x: saturation."
    )
    assert browser.execute_script("return data.comparison.tensors[0].saturated > 0")


def test_a_graph_that_is_too_large_is_collapsed_and_says_so(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    from syurmy.report import graph

    monkeypatch.setattr(graph, "MOST", 7)
    monkeypatch.setattr(graph, "FEW", 7)
    done = CliRunner().invoke(app, ["profile", "programs/life.tasm", "--html", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    browser.get((tmp_path / "r.html").as_uri())
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    said = browser.find_element(By.ID, "graph-text").text
    assert "are shown as" in said
    assert "boxes" in said
    nodes = browser.execute_script("return data.graph.nodes")
    assert len(nodes) <= 7
    points = browser.find_elements(By.CSS_SELECTOR, "#graph path.point")
    assert len(points) == len(nodes)
    at = max(range(len(nodes)), key=lambda j: len(nodes[j][3]))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", points[at])
    ActionChains(browser).move_to_element(points[at]).pause(0.3).click().perform()
    assert browser.find_element(By.ID, "chosen").text == nodes[at][2]
    assert f"{len(nodes[at][3])} in one box" in browser.find_element(By.ID, "detail").text
    assert browser.find_elements(By.CSS_SELECTOR, "#source .marked")
    boxes = browser.find_elements(By.CSS_SELECTOR, "#treemap g.slice")
    assert any("in one box" in b.text or nodes[at][2].split()[0] in b.text for b in boxes)
