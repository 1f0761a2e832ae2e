"""The report in a real Chromium: it sorts, filters and compares, by mouse and by keyboard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.report.page import render_report
from ssah_exp.reporting.text import estimate_text
from tests.records import synthetic
from tests.records.synthetic import JUDGE
from tests.reporting.browser import ARGUMENTS, chromium, missing
from tests.reporting.contrasts import contrast
from tests.reporting.pages import HOSTILE, many, records

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(missing() != "", reason=missing())
ASR = f"asr/mean/{JUDGE}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless, with a fresh profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def made() -> list[RunRecord]:
    return records()


@pytest.fixture(scope="module")
def file(made: list[RunRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(made), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    """The page, freshly opened; no request may leave it and nothing may be complained of."""
    opened = browser.new_page(reduced_motion="reduce")
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(file.as_uri())
    yield opened
    opened.close()
    # The empty icon lies inside the page, and may or may not be counted.
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert said == []


def column(page: Page, heading: str) -> list[str]:
    """First line of each visible cell below a heading."""
    (place,) = page.evaluate(
        """(wanted) => [...document.querySelectorAll("#table thead th")].flatMap((cell, at) =>
          cell.textContent.trim() === wanted ? [at] : [])""",
        heading,
    )
    cells = page.locator(f"#table tbody tr:visible > :nth-child({place + 1})").all_inner_texts()
    return [text.split("\n")[0].strip() for text in cells]


def tick(page: Page, *runs: RunRecord) -> None:
    for run in runs:
        page.get_by_label(f"Compare run {run.run_id}").check()


def rows_of(page: Page, selector: str) -> dict[str, list[str]]:
    """Cells of a table by their row's heading."""
    found: dict[str, list[str]] = page.evaluate(
        """(selector) => Object.fromEntries([...document.querySelectorAll(selector)].map((row) =>
          [row.querySelector("th").innerText, [...row.querySelectorAll("td")].map((cell) =>
          cell.innerText.trim())]))""",
        f"{selector} tbody tr",
    )
    return found


def test_every_run_is_a_row_with_its_numbers(page: Page, made: list[RunRecord]) -> None:
    newest_first = sorted(made, key=lambda record: record.finished, reverse=True)
    assert column(page, "Run") == [record.run_id for record in newest_first]
    for record, shown in zip(newest_first, column(page, "ASR %"), strict=True):
        metric = f"asr/mean/{record.config['evaluation']['primary_judge']}"
        arm = next(item for item in record.arms if item.units > 0)
        assert shown == estimate_text(arm.metrics[metric], metric).split(" [")[0]


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_sorting_by_number_puts_gaps_last(page: Page, by: str) -> None:
    button = page.locator(".sort[data-key=rate]")
    heading = page.locator("th", has=button)

    def press() -> None:
        if by == "mouse":
            button.click()
        else:
            button.focus()
            page.keyboard.press("Enter")

    press()
    assert heading.get_attribute("aria-sort") == "ascending"
    found = column(page, "ASR %")
    numbers = [float(text) for text in found if text]
    assert numbers == sorted(numbers)
    assert found[-1] == "", "the run whose answers were not scored"
    assert len(set(numbers)) > 3
    press()
    assert heading.get_attribute("aria-sort") == "descending"
    found = column(page, "ASR %")
    assert [float(text) for text in found if text] == sorted(numbers, reverse=True)
    assert found[-1] == ""
    others = page.locator("[aria-sort=none]").count()
    assert others == page.locator("[aria-sort]").count() - 1


def test_an_infinite_perplexity_sorts_above_all(page: Page) -> None:
    for _ in range(2):
        page.locator(".sort[data-key=perplexity]").click()
    found = column(page, "Perplexity")
    assert found[0] == "inf"
    assert float(found[1]) < 100


def test_search_and_filters_work_together(page: Page, made: list[RunRecord]) -> None:
    table1 = [run for run in made if run.artefact == "table1_pruning"]
    page.get_by_label("Search").fill("TABLE1 seed")
    assert set(column(page, "Run")) == {run.run_id for run in table1}
    page.locator("[data-filter=seed]").select_option("0")
    first = {run.run_id for run in table1 if run.seed == 0}
    assert set(column(page, "Run")) == first
    assert page.locator("#count").inner_text() == f"{len(first)} of {len(made)} runs"
    page.get_by_label("Search").fill("setting_i")
    assert column(page, "Run") == [run.run_id for run in made if run not in table1 and not run.seed]
    page.get_by_label("Search").fill("nothing like it")
    assert page.locator("#count").inner_text() == f"0 of {len(made)} runs"


def test_two_ticked_runs_are_compared_number_by_number(page: Page, made: list[RunRecord]) -> None:
    compare = page.locator("#compare")
    assert compare.is_disabled()
    assert not page.locator("#comparison").is_visible()
    first, second = made[1], made[0]  # the table shows the newer one first
    tick(page, second, first)
    compare.click()
    assert page.evaluate("document.activeElement.id") == "comparison-title"
    found = rows_of(page, "#numbers")
    assert list(found) == [arm.name for arm in first.arms]
    for one, other in zip(first.arms, second.arms, strict=True):
        *cells, apart = found[one.name]
        assert cells == [f"{estimate_text(arm.metrics[ASR], ASR)} n 100" for arm in (one, other)]
        values = [arm.metrics[ASR].value or 0 for arm in (one, other)]
        assert float(apart) == pytest.approx(100 * (values[1] - values[0]))
    page.locator("#metric").select_option(label="perplexity (perplexity)")
    assert rows_of(page, "#numbers")["aligned"][0].startswith("8.2 [")


def test_small_differences_are_not_rounded_away(browser: Browser, tmp_path: Path) -> None:
    """Cosines and shares of weights differ by hundredths: "-0.0", said the page."""
    losses = {"aligned": (2.0, 1.999), "SCU/pooled": (2.0, 3.0), "RU/pooled": (2.0, 2.0)}
    runs = [
        synthetic.record(
            seed,
            arms=[
                synthetic.arm(name, 0.5, metrics=synthetic.metrics(0.5, at[seed]))
                for name, at in losses.items()
            ],
        )
        for seed in (0, 1)
    ]
    file = tmp_path / "report.html"
    file.write_text(render_report(runs), encoding="utf-8")
    page = browser.new_page(reduced_motion="reduce")
    page.goto(file.as_uri())
    tick(page, *runs)
    page.locator("#compare").click()
    page.locator("#metric").select_option(label="perplexity (perplexity)")
    found = {name: cells[-1] for name, cells in rows_of(page, "#numbers").items()}
    page.close()
    values = {
        name: [run.arms[at].metrics["perplexity"].value or 0 for run in runs]
        for at, name in enumerate(losses)
    }
    sign = 1 if float(found["SCU/pooled"]) > 0 else -1  # which of the two stands second
    for name, (one, other) in values.items():
        assert float(found[name]) == pytest.approx(sign * (other - one), rel=0.05)
    assert abs(float(found["aligned"])) == pytest.approx(0.009, abs=0.001)
    assert found["RU/pooled"] == "0.0"
    assert len(found["SCU/pooled"].partition(".")[2]) == 1


def test_only_what_differs_is_listed(page: Page, made: list[RunRecord]) -> None:
    tick(page, made[0], made[5])
    page.locator("#compare").click()
    found = rows_of(page, "#differences")
    assert set(found) == {"config.units.budgets.scu", "finished"}
    assert found["config.units.budgets.scu"] == ["0.05", "0.01"], "newest first"
    assert page.locator("#losses path.curve").count() == 0
    tick(page, made[3])
    found = rows_of(page, "#differences")
    assert found["config.training.start"] == ["not set", "aligned", "not set"]
    assert page.locator("#losses path.curve").count() == 2, "two trained arms, no controls"
    assert page.locator("#losses .legend li").count() == 1, "runs without a curve are not named"
    page.locator("#clear").click()
    assert not page.locator("#comparison").is_visible()


def test_a_run_opens_in_full_and_closes_by_keyboard(page: Page, made: list[RunRecord]) -> None:
    page.locator(f"#table [data-open='{made[6].run_id}']").focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    found = rows_of(page, "#run-body .scroll:nth-child(2)")
    assert found["config.model.name"] == [HOSTILE]
    assert page.locator("img").count() == 0
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out_and_nothing_overflows_at_400_pixels(
    browser: Browser, file: Path, scheme: Any
) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": 400, "height": 800})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    text = ("--ink", "--soft", "--accent")
    marks = (
        "--random",
        "--matched",
        "--shifted",
        "--normed",
        *(f"--c{number}" for number in range(7)),
    )
    colours = page.evaluate(
        """(names) => Object.fromEntries(names.map((name) => [name,
          getComputedStyle(document.documentElement).getPropertyValue(name).trim()]))""",
        ["--paper", *text, *marks],
    )
    page.close()
    assert len(set(colours.values())) > 9
    for names, least in ((text, 4.5), (marks, 3.0)):
        for name in names:
            assert contrast(colours[name], colours["--paper"]) >= least, name


@pytest.mark.parametrize("width", [400, 1400])
def test_captions_fit_between_classic_scroll_bars(browser: Browser, file: Path, width: int) -> None:
    shown = browser.browser_type.launch(
        executable_path=chromium(), args=ARGUMENTS, ignore_default_args=["--hide-scrollbars"]
    )
    page = shown.new_page(viewport={"width": width, "height": 500})
    page.goto(file.as_uri())
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".scroll caption span")].filter((text) => {
          const frame = text.closest(".scroll");
          return frame.clientWidth > 0 && text.getBoundingClientRect().right
            > frame.getBoundingClientRect().left + frame.clientWidth + 0.5;
        }).map((text) => text.textContent)"""
    )
    shown.close()
    assert cut == []


@pytest.mark.parametrize("width", [1400, 1280])
def test_results_of_runs_are_seen_without_scrolling_on_a_desktop(page: Page, width: int) -> None:
    """Long names fold: a model's at its hyphens, an experiment's and the data's at underscores."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(
        """() => document.querySelectorAll("#table tbody tr").forEach((row) => {
          const [experiment, model, data] = [...row.cells].slice(2);
          const folds = experiment.textContent.replaceAll("_", "_<wbr>");
          if (experiment.innerHTML !== folds) throw experiment.innerHTML;
          model.textContent = "Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)";
          experiment.innerHTML = "table4_<wbr>alignment_<wbr>budget";
          data.innerHTML = "strongreject_<wbr>small";
        })"""
    )
    frame = "document.querySelector('#table').closest('.scroll')"
    assert page.evaluate(f"{frame}.scrollWidth <= {frame}.clientWidth")


def test_without_javascript_runs_and_tables_are_there(browser: Browser, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator("#table tbody tr").count() == 7
    assert "Ours beside the paper" in page.locator("#table1_pruning").inner_text()
    assert page.locator("noscript").is_visible()
    context.close()


@pytest.mark.slow
def test_five_hundred_runs_open_within_two_seconds(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "many.html"
    path.write_text(render_report(many(500)), encoding="utf-8")
    assert path.stat().st_size < 10e6
    times = []
    for _ in range(6):  # other work may run on the machine
        page = browser.new_page()
        started = time.perf_counter()
        page.goto(path.as_uri())
        assert page.locator("#count").inner_text() == "500 of 500 runs"
        times.append(time.perf_counter() - started)
        page.close()
    print(f"{path.stat().st_size / 1e6:.1f} MB, opened in {min(times):.2f} s at best of 6")
    assert min(times) < 2
