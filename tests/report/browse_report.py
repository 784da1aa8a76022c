"""The report in a browser, as a reader meets it: `make report-test`. Not among the fast tests: it needs Chromium."""

import csv
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
REPORT = Path(os.environ.get("REPORT", ROOT / "rerun/report.html"))
SCREENSHOTS = REPORT.parent / "report" / "screenshots"
SIZES = {"wide": (1400, 900), "narrow": (390, 844)}
CATEGORIES = ("1 Verdict", "2 Main figures", "3 The paper's other figures", "4 Beyond the paper", "7 The second paper")
ALL_LABELS = ["ENVIRONMENT", "FIGURE", "PROTOCOL"]
LABELS = {"2 Main figures": ["ENVIRONMENT", "PROTOCOL"]}
"""Of the main figures there are two kinds, over iterations and over steps; snakemake makes a switch of those."""
TABLES = {"audit"} | {path.stem for path in (ROOT / "results/tables").iterdir() if not path.stem.startswith("prior_")}
FIGURES = {path.name for path in (ROOT / "paper_figs").glob("*.png")}


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def report(chromium, request):
    """The report, opened offline at one size; nothing may ask for anything, or go wrong."""
    width, height = SIZES[request.param]
    context = chromium.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    context.set_offline(True)
    page = context.new_page()
    page.set_default_timeout(120_000)
    asked, errors = [], []
    page.on("request", lambda one: asked.append(one.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(REPORT.as_uri())
    page.get_by_text("Does it help a reinforcement learner").first.wait_for()
    page.size = request.param
    yield page
    outside = [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    context.close()
    assert not outside and not errors


def keep(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{page.size}_{name}.png")


def home(page):
    page.locator("nav nav a").first.click()


def open_category(page, name):
    home(page)
    page.locator("nav li a").filter(has_text=name).click()


def rows(page):
    return page.locator("nav table tbody tr")


def view(page, row):
    """Click the eye of a row."""
    row.locator("a").first.click()


def figures_in(page):
    """View every row that is listed; return the names of the figures among them."""
    found = set()
    for place in range(rows(page).count()):
        view(page, rows(page).nth(place))
        image = page.locator("div.p-3 > img")
        if image.count() == 0:
            continue  # the claims, as a table
        page.wait_for_function("() => document.querySelector('div.p-3 > img').naturalWidth > 300")
        name = re.search(r"filename=([^;]+)", image.get_attribute("src")).group(1)
        found.add(name)
        if name in ("cartpole_main.png", "main.png", "main_steps.png"):
            keep(page, f"2_{name.removesuffix('.png')}")
    return found


def test_it_is_one_file_of_at_most_25_megabytes_that_names_no_page_to_load():
    assert REPORT.stat().st_size < 25_000_000
    text = REPORT.read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//[^\"'> ]+", text)


def test_the_verdict_comes_first(report):
    with (ROOT / "results/claims.csv").open(encoding="utf-8") as file:
        claims = list(csv.DictReader(file))
    shown = report.locator(".prose table tbody tr").all_inner_texts()
    assert [(row.split("\t")[0].strip(), row.split("\t")[1].strip()) for row in shown] == [
        (claim["claim"], claim["verdict"]) for claim in claims
    ]
    first = report.locator(".prose table tbody tr").first.bounding_box()
    assert first["y"] < 2 * report.viewport_size["height"]
    heading = report.locator(".prose h1").first.bounding_box()
    assert heading["x"] >= 0 and heading["x"] + heading["width"] <= report.viewport_size["width"]
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert report.evaluate(wider) <= 0, "nothing may be wider than the window"
    keep(report, "1_verdict")


def test_every_figure_is_there_with_its_caption_and_labels(report):
    found = set()
    for category in CATEGORIES:
        open_category(report, category)
        assert report.locator("nav table thead th").all_inner_texts() == [*LABELS.get(category, ALL_LABELS), ""]
        for over in ("main", "main_steps") if category == "2 Main figures" else ("",):
            if over:
                report.locator("nav").get_by_text(over, exact=True).click()
            found |= figures_in(report)
    assert found == FIGURES and len(found) > 40
    captions = report.evaluate("Object.values(results).map(result => result.caption)")
    assert all(len(caption) > 100 and "problematic" not in caption for caption in captions)


def test_a_figure_leads_to_its_data(report):
    open_category(report, "2 Main figures")
    row = rows(report).filter(has_text="cartpole")
    row.locator("a").nth(1).click()
    keep(report, "3_caption")
    report.get_by_role("link", name="cartpole_main_data.html").click()
    report.locator("nav tbody tr").filter(has_text="cartpole").locator("a").first.click()
    data = report.frame_locator("iframe")
    data.get_by_role("heading", name="Data behind cartpole_main").wait_for()
    keep(report, "4_data")

    sources, curves = data.locator("table").nth(0), data.locator("table").nth(1)
    files = sources.locator("tbody tr").all_inner_texts()
    assert any("results/runs/paper/cartpole/online.csv" in file for file in files)
    assert all((ROOT / re.search(r"results/runs/\S+\.csv", file).group()).exists() for file in files)

    with (ROOT / "results/runs/paper/cartpole/online.csv").open(encoding="utf-8") as file:
        returns = [float(line["eval_return"]) for line in csv.DictReader(file) if line["iteration"] == "100"]
    names = curves.locator("thead th").all_inner_texts()
    cells = curves.locator("tbody tr").nth(100).locator("td").all_inner_texts()
    ours = dict(zip(names, cells, strict=True))
    assert ours["iteration"] == "100"
    assert float(ours["online paper"]) == pytest.approx(sum(returns) / len(returns), rel=1e-4)
    assert float(ours["online paper, low"]) <= float(ours["online paper"]) <= float(ours["online paper, high"])

    heading = curves.locator("thead th button").nth(names.index("online paper"))
    for order in (sorted, lambda values: sorted(values, reverse=True)):
        heading.click()
        values = curves.locator(f"tbody td:nth-child({names.index('online paper') + 1})").all_inner_texts()
        assert list(map(float, values)) == order(map(float, values)) and len(set(values)) > 10

    with report.expect_download() as download:
        data.get_by_role("link", name="cartpole_main_data_runs.csv").click()
    lines = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
    assert len(lines) == len(files) and "results/runs/paper/cartpole/online.csv" in {line["file"] for line in lines}


def test_tables_are_those_that_are_shipped(report):
    open_category(report, "5 Tables")
    assert {text.split("\t")[1] for text in rows(report).all_inner_texts()} == {f"table: {name}" for name in TABLES}
    view(report, rows(report).filter(has_text="table: main"))
    table = report.frame_locator("iframe")
    table.get_by_role("heading", name="Table main").wait_for()
    keep(report, "5_table")
    shown = [row.split("\t") for row in table.locator("table.wide tbody tr").all_inner_texts()]
    with (ROOT / "results/tables/main.csv").open(encoding="utf-8") as file:
        assert [[cell.strip() for cell in row] for row in shown] == list(csv.reader(file))[1:]


def test_the_rule_behind_a_figure_is_told(report):
    open_category(report, "4 Beyond the paper")
    rows(report).filter(has_text="defects").locator("a").nth(1).click()
    report.locator("nav li").filter(has_text=re.compile(r"^defects$")).locator("a").last.click()
    assert "python -m analysis.defects" in report.locator("nav").first.inner_text()
    keep(report, "6_rule")
