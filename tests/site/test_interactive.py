"""The interactive figures: their numbers against mmlib and scipy, by keyboard, in any light."""

import re
from pathlib import Path

import numpy as np
import pytest
from docutils import nodes
from scipy import stats
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

import mmlib as mm
from tests.helpers.browser import LOOKS, WITHOUT_REPETITION, press, put_on, settle, severe
from tools.site.interactive import FIGURES, add_scripts, interactive_figures
from tools.site.pages import read_pages

browser_test = pytest.mark.browser
PAGES = {
    "shrinkage": "05-random-effects.html",
    "likelihood": "03-estimation.html",
    "null-distribution": "04-inference.html",
    "mill": "06-prediction.html",
    "planning": "16-planning.html",
}
PULP = mm.load_dataset("pulp")
LAYOUT = mm.oneway("bright ~ operator", PULP)


def open_figure(site: Path, browser: Chrome, name: str) -> Chrome:
    """Open the page of a figure from disk, or go back to its start, and bring it into view."""
    put_on(browser, LOOKS[0])
    address = (site / "book" / PAGES[name]).as_uri()
    if browser.current_url != address:
        browser.get_log("browser")
        browser.get(address)
        settle(browser)
        browser.execute_script(WITHOUT_REPETITION)
    browser.execute_script(
        "for (const host of document.querySelectorAll('.interactive'))"
        "  if (host.dataset.interactive !== arguments[0]) host.remove();"
        "const host = document.querySelector('.interactive');"
        "host.querySelector('button').click();"
        "host.scrollIntoView({block: 'center'})",
        name,
    )
    return browser


@pytest.fixture
def figure(request, site, browser) -> Chrome:
    """Open the figure that a class is about."""
    return open_figure(site, browser, request.cls.name)


def words(browser: Chrome) -> str:
    return browser.find_element(By.CSS_SELECTOR, ".interactive .words").text


def marks(browser: Chrome, style: str = "") -> np.ndarray:
    """Return the places of the drawn markers, in the units of the axes."""
    return np.array(
        browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])]"
            ".map(mark => [Number(mark.dataset.x), Number(mark.dataset.y)])",
            f".interactive svg .marker{style}",
        )
    )


def sliders(browser: Chrome) -> list:
    return browser.find_elements(By.CSS_SELECTOR, ".interactive input[type=range]")


def move(browser: Chrome, which: int, *keys: str) -> None:
    """Move a slider as a reader without a mouse does."""
    browser.execute_script("arguments[0].focus()", sliders(browser)[which])
    press(browser, *keys)


class TestShrinkage:
    pytestmark = browser_test
    name = "shrinkage"

    def test_it_starts_at_the_pulp(self, figure):
        assert "variance ratio of 0.64 and 5 sheets" in words(figure)
        assert "factor is 0.762" in words(figure)
        assert "1.3121 times the random effect" in words(figure)

    def test_it_draws_the_fixed_and_the_random_effects_of_mmlib(self, figure):
        fit = mm.lmm("bright ~ 1 + (1 | operator)", PULP)
        assert marks(figure, ".fixed")[:, 1] == pytest.approx(LAYOUT.effects(), abs=1e-9)
        random = fit.ranef()["operator"]["Intercept"]
        assert marks(figure, ".random")[:, 1] == pytest.approx(random, abs=1e-6)

    def test_without_variance_everyone_is_predicted_by_the_mean(self, figure):
        move(figure, 0, Keys.HOME)
        assert "complete pooling" in words(figure)
        assert np.all(marks(figure, ".random")[:, 1] == 0)

    def test_more_sheets_are_trusted_more(self, figure):
        ratio = LAYOUT.variance_components("reml")
        ratio = ratio.sigma2_group / ratio.sigma2_resid
        move(figure, 1, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        factor = 7 * ratio / (7 * ratio + 1)
        assert f"7 sheets of each operator the shrinkage factor is {factor:.3f}" in words(figure)
        effects = factor * LAYOUT.effects()
        assert marks(figure, ".random")[:, 1] == pytest.approx(effects, abs=1e-6)


def rescaled(spread: float) -> mm.OneWayLayout:
    """Return the layout of the pulp with the operators' means drawn together or apart."""
    effects = PULP["operator"].map(LAYOUT.effects()).astype(float)
    moved = PULP.assign(bright=PULP["bright"] + (spread - 1) * effects)
    return mm.oneway("bright ~ operator", moved)


class TestLikelihood:
    pytestmark = browser_test
    name = "likelihood"

    def test_its_objectives_are_those_of_mmlib(self, figure):
        design = mm.build_design(mm.parse_formula("bright ~ 1 + (1 | operator)"), PULP)
        for reml in (False, True):
            objective = mm.Objective(design, reml=reml)
            for theta in (0.3, 0.6562, 2.5):
                drawn = figure.execute_script(
                    "return Interactive.profiledObjective(arguments[0], arguments[1])",
                    theta,
                    {"ssa": LAYOUT.ssa, "sse": LAYOUT.sse, "groups": 4, "size": 5, "reml": reml},
                )
                expected = objective(np.array([theta])) - objective(np.array([0.0]))
                assert drawn == pytest.approx(expected, abs=1e-9)

    def test_it_starts_at_the_optima_of_the_pulp(self, figure):
        assert "MSA / MSE is 4.20" in words(figure)
        assert "Maximum likelihood: lowest at θ = 0.6562, 2.5684 below" in words(figure)
        assert "REML: lowest at θ = 0.8005, 3.4701 below" in words(figure)
        optima = [
            mm.lmm("bright ~ 1 + (1 | operator)", PULP, reml=reml).theta[0]
            for reml in (False, True)
        ]
        assert marks(figure)[:, 0] == pytest.approx(optima, rel=1e-5)
        depths = [-LAYOUT.exact_lrt().statistic, -LAYOUT.exact_rlrt().statistic]
        assert marks(figure)[:, 1] == pytest.approx(depths, rel=1e-8)

    @pytest.mark.parametrize("percent", [150, 80, 57, 56, 49, 48, 0])
    def test_the_optima_walk_as_in_mmlib(self, figure, percent):
        figure.execute_script(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            sliders(figure)[0],
            percent,
        )
        moved = rescaled(percent / 100)
        parts = [moved.variance_components(method) for method in ("ml", "reml")]
        thetas = [np.sqrt(part.sigma2_group / part.sigma2_resid) for part in parts]
        assert marks(figure)[:, 0] == pytest.approx(thetas, abs=1e-8)
        assert words(figure).count("the boundary") == thetas.count(0)


DESIGNS = [(2, 2), (4, 5), (10, 2), (60, 30)]


class TestNullDistribution:
    pytestmark = browser_test
    name = "null-distribution"

    def test_it_starts_at_the_pulp(self, figure):
        said = words(figure)
        assert (
            "4 operators with 5 sheets each. The statistic is zero with probability 0.7015" in said
        )
        assert "For T = 2.5684 the exact p is 0.0226" in said
        assert "the mixture says 0.0545, and χ² 0.1090" in said
        test = LAYOUT.exact_lrt()
        heights = [
            test.pvalue,
            stats.chi2.sf(test.statistic, 1),
            stats.chi2.sf(test.statistic, 1) / 2,
        ]
        assert 10 ** marks(figure)[:, 1] == pytest.approx(heights, rel=1e-7)

    @pytest.mark.parametrize(("groups", "size"), DESIGNS)
    def test_tail_and_mass_are_those_of_mmlib(self, figure, groups, size):
        rng = np.random.default_rng(groups)
        frame = PULP.sample(groups * size, replace=True, random_state=1)
        frame = frame.assign(
            operator=np.repeat(np.arange(groups), size),
            bright=rng.normal(size=groups * size) + 3 * (np.arange(groups * size) < size),
        )
        test = mm.oneway("bright ~ operator", frame).exact_lrt()
        assert test.statistic > 0
        mass, tail = figure.execute_script(
            "const exact = Interactive.nullDistribution(arguments[0], arguments[1]);"
            "return [exact.massAtZero, exact.tail(arguments[2])]",
            groups,
            size,
            test.statistic,
        )
        assert mass == pytest.approx(test.mass_at_zero, abs=1e-12)
        assert tail == pytest.approx(test.pvalue, rel=1e-8)

    @pytest.mark.parametrize(("groups", "size"), DESIGNS)
    def test_the_density_is_the_slope_of_the_tail(self, figure, groups, size):
        density, slope = figure.execute_script(
            "const exact = Interactive.nullDistribution(arguments[0], arguments[1]);"
            "const step = 1e-4, places = [0.05, 0.5, 2, 6];"
            "return [places.map(exact.density),"
            "  places.map(t => (exact.tail(t - step) - exact.tail(t + step)) / (2 * step))]",
            groups,
            size,
        )
        assert density == pytest.approx(slope, rel=1e-4)

    def test_f_and_chi_squared_are_those_of_scipy(self, figure):
        cases = [
            (f, df1, df2) for f in (0.1, 1, 4.2, 50) for df1 in (1, 3, 59) for df2 in (2, 16, 1740)
        ]
        tails, densities, chi2 = figure.execute_script(
            "return [arguments[0].map(each => Interactive.fTail(...each)),"
            "  arguments[0].map(each => Interactive.fDensity(...each)),"
            "  [0.01, 1, 8].map(Interactive.chi2Tail)]",
            cases,
        )
        assert tails == pytest.approx([stats.f.sf(*case) for case in cases], rel=1e-9, abs=1e-12)
        assert densities == pytest.approx([stats.f.pdf(*case) for case in cases], rel=1e-9)
        assert chi2 == pytest.approx(stats.chi2.sf([0.01, 1, 8], 1), rel=1e-10)

    def test_a_statistic_of_zero_is_no_evidence(self, figure):
        move(figure, 2, Keys.HOME)
        assert "For T = 0.0000 the exact p is 1.0000" in words(figure)


class TestPlanning:
    pytestmark = browser_test
    name = "planning"

    def test_it_starts_at_the_earlier_study_and_has_the_power_of_mmlib(self, figure):
        sleep = mm.load_dataset("sleepstudy")
        fit = mm.lmm("Reaction ~ Days + (Days | Subject)", sleep)
        power = mm.power(fit, "Days", effect=5, along={"n_subjects": [18, 20]}, nsim=2, rng=1)
        now, later = power.to_frame()["exact"]
        assert marks(figure)[0] == pytest.approx([18, now], rel=1e-6)
        said = words(figure)
        assert "With 18 subjects, each measured on 10 days, the power" in said
        assert f"to detect a slope of 5.0 ms a day is {now:.0%}" in said
        assert f"2 more subjects (20 nights) to {later:.0%}" in said

    def test_the_noncentral_f_is_that_of_scipy(self, figure):
        cases = [
            (f, df1, df2, lam)
            for f in (0.5, 4.4, 30)
            for df1 in (1, 3)
            for df2 in (2, 17)
            for lam in (0, 0.7, 9, 400)
        ]
        tails, critical = figure.execute_script(
            "return [arguments[0].map(each => Interactive.noncentralTail(...each)),"
            "  [[1, 2], [1, 17], [3, 60]].map(df => Interactive.fCritical(0.05, ...df))]",
            cases,
        )
        central = [stats.f.sf(*case[:3]) for case in cases]  # ncf is wrong at zero
        expected = [stats.ncf.sf(*c) if c[3] else f for c, f in zip(cases, central, strict=True)]
        assert tails == pytest.approx(expected, abs=1e-9)
        assert critical == pytest.approx(
            [stats.f.isf(0.05, *df) for df in ((1, 2), (1, 17), (3, 60))]
        )

    def test_days_count_as_in_the_chapter(self, figure):
        move(figure, 1, Keys.HOME)
        power = figure.execute_script(
            "return Interactive.slopePower({effect: 5, slopes: 6, sigma: 25}, 12, 7)"
        )
        variance = (6**2 + 25**2 / np.sum((np.arange(7) - 3.0) ** 2)) / 12
        assert power == pytest.approx(stats.ncf.sf(stats.f.isf(0.05, 1, 11), 1, 11, 25 / variance))
        assert "on 2 days" in words(figure)


def analysed(browser: Chrome, sheets: np.ndarray) -> dict:
    """Return what the mill makes of the sheets of operators, one row each."""
    return browser.execute_script("return Interactive.analyseMill(arguments[0])", sheets.tolist())


MILLS = {
    "pulp": PULP["bright"].to_numpy().reshape(4, 5) - 60.4,
    "alike": PULP["bright"].to_numpy().reshape(4, 5).T - 60.4,
    "eight": np.random.default_rng(8).normal(size=(8, 3)) + np.arange(8)[:, None],
}


class TestMill:
    pytestmark = browser_test
    name = "mill"

    @pytest.mark.parametrize("sheets", MILLS.values(), ids=MILLS)
    def test_its_analyses_are_those_of_mmlib(self, figure, sheets):
        groups, size = sheets.shape
        frame = PULP.sample(groups * size, replace=True, random_state=1).assign(
            operator=np.repeat(np.arange(groups), size), bright=sheets.ravel()
        )
        layout = mm.oneway("bright ~ operator", frame)
        found = analysed(figure, sheets)
        assert [found["f"], found["pF"]] == pytest.approx([layout.f, layout.pvalue])
        for method in ("anova", "ml", "reml"):
            expected = layout.variance_components(method).sigma2_group
            assert found[method] == pytest.approx(expected, abs=1e-12)
        exact = layout.exact_lrt()
        assert found["lrt"] == pytest.approx(exact.statistic, abs=1e-9)
        assert found["tests"][2] == pytest.approx(exact.pvalue, abs=1e-9)
        fit = mm.lmm("bright ~ 1 + (1 | operator)", frame)
        effects = fit.ranef()["operator"]["Intercept"]
        assert found["blups"] == pytest.approx(effects.tolist(), abs=1e-5)
        rows = PULP[["operator"]].head(2).assign(operator=[0, 99])
        for kind, which in [("confidence", (1, 0)), ("prediction", (2, 4))]:
            table = fit.predict(rows, new_levels="population", interval=kind)
            for row, number in zip(table.itertuples(), which, strict=True):
                centre, reach = found["intervals"][number]
                assert centre - reach == pytest.approx(row.lower, abs=1e-4)
                assert centre + reach == pytest.approx(row.upper, abs=1e-4)

    def test_a_thousand_experiments_are_what_theory_says(self, figure):
        alike = {"groups": 4, "size": 5, "between": 0, "within": 1}
        run = "return Interactive.tallyMill(arguments[0], 1, 4000)"
        tally = figure.execute_script(run, alike)
        error = np.sqrt(0.05 * 0.95 / 4000)
        assert abs(tally["significant"][2] - 0.05) < 4 * error
        assert abs(tally["zeros"][1] - LAYOUT.exact_lrt().mass_at_zero) < 4 * np.sqrt(0.21 / 4000)
        assert abs(tally["estimates"][0]) < 4 * np.sqrt(2 / 3 / 25 / 4000) * 1.5
        differing = {"groups": 10, "size": 5, "between": 0.5, "within": 1}
        tally = figure.execute_script(run, differing)
        assert abs(tally["estimates"][0] - 0.25) < 0.02
        assert tally["squares"][1] < tally["squares"][0]
        assert all(0.85 < share < 0.96 for share in tally["hits"])

    def test_the_same_seed_gives_the_same_experiment_and_the_next_another(self, figure):
        first = words(figure)
        buttons = figure.find_elements(By.CSS_SELECTOR, ".interactive button")
        assert [button.text for button in buttons][1:] == ["Run the experiment", "Run 1,000"]
        figure.execute_script("arguments[0].click()", buttons[1])
        assert "Experiment 2" in words(figure)
        figure.execute_script("arguments[0].click()", buttons[2])
        assert "Coverage in 1000 experiments" in words(figure)
        figure.execute_script("arguments[0].click()", buttons[0])
        assert words(figure) == first

    @pytest.mark.parametrize("pane", ["anova", "estimates", "tests", "blups", "intervals"])
    def test_every_pane_draws_and_says_what_it_shows(self, figure, pane):
        said, drawn = figure.execute_script(
            "const host = document.createElement('div');"
            "host.className = 'interactive';"
            "Object.assign(host.dataset, {interactive: 'mill', panes: `sheets ${arguments[0]}`,"
            "  groups: 4, size: 5, mu: 60.4, between: 0.26, within: 0.33});"
            "document.querySelector('article').append(host);"
            "Interactive.show(host, Interactive.figures.mill(host.dataset));"
            "host.querySelectorAll('button')[2].click();"
            "const result = ['.words', 'svg'].map(part => host.querySelector(part).innerHTML);"
            "host.remove();"
            "return result",
            pane,
        )
        assert "1000 experiments" in said
        assert not re.search("NaN|undefined", said + drawn)


@pytest.fixture(params=PAGES, scope="module")
def name(request) -> str:
    return request.param


@pytest.fixture
def page(name, site, browser) -> Chrome:
    return open_figure(site, browser, name)


class TestEveryFigure:
    pytestmark = browser_test

    def test_it_works_by_keyboard_and_shows_where_one_is(self, page):
        first = words(page)
        for slider in sliders(page):
            page.execute_script("arguments[0].focus()", slider)
            press(page, Keys.ARROW_RIGHT)
            outline = page.execute_script(
                "return getComputedStyle(arguments[0]).outlineStyle", slider
            )
            assert outline == "solid"
            shown = page.execute_script(
                "return arguments[0].previousElementSibling.textContent", slider
            )
            assert slider.get_attribute("aria-valuetext") == shown != ""
        assert words(page) != first
        press(page, Keys.TAB, Keys.ENTER)
        assert words(page) == first

    def test_it_works_by_mouse(self, page):
        first, slider = words(page), sliders(page)[-1]
        width = slider.size["width"]
        ActionChains(page).move_to_element_with_offset(slider, width // 3, 0).click().perform()
        assert words(page) != first

    @pytest.mark.parametrize("end", [Keys.HOME, Keys.END], ids=["least", "most"])
    def test_its_marks_stay_within_the_axes(self, page, end):
        for which in range(len(sliders(page))):
            move(page, which, end)
        outside = page.execute_script(
            "const boxes = name => [...document.querySelectorAll(`.interactive svg ${name}`)]"
            "  .map(mark => mark.getBoundingClientRect());"
            "const axes = boxes('.axis'), most = (side, of) => of(...axes.map(box => box[side]));"
            "return boxes('.marker').filter(box =>"
            "  (box.top + box.bottom) / 2 < most('top', Math.min) - 1"
            "  || (box.top + box.bottom) / 2 > most('bottom', Math.max)"
            "  || (box.left + box.right) / 2 < most('left', Math.min)"
            "  || (box.left + box.right) / 2 > most('right', Math.max) + 1).length"
        )
        assert outside == 0

    def test_it_says_what_it_shows(self, page):
        for slider in sliders(page):
            assert len(slider.accessible_name) > 10
        live = page.find_element(By.CSS_SELECTOR, ".interactive .words")
        assert live.get_attribute("aria-live") == "polite"
        drawing = page.find_element(By.CSS_SELECTOR, ".interactive svg")
        assert drawing.aria_role in ("img", "image")
        assert len(drawing.accessible_name) > 40

    @pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
    def test_no_word_is_cut(self, page, look):
        """That the page is accessible and fits, `test_browser.py` sees."""
        put_on(page, look)
        cut = page.execute_script(
            "const svg = document.querySelector('.interactive svg');"
            "const frame = svg.getBoundingClientRect();"
            "return [...svg.querySelectorAll('text')].filter(text => {"
            "  const box = text.getBoundingClientRect();"
            "  return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1"
            "    || box.bottom > frame.bottom + 1 || box.top < frame.top - 1);"
            "}).map(text => text.textContent)"
        )
        assert cut == []

    def test_lines_differ_by_more_than_colour(self, page):
        patterns = page.execute_script(
            "return [...new Set([...document.querySelectorAll('.interactive svg .line')]"
            ".map(line => line.getAttribute('class')))]"
            ".map(name => getComputedStyle(document.querySelector("
            "  `.interactive svg .${name.trim().replaceAll(' ', '.')}`)).strokeDasharray)"
        )
        assert len(patterns) >= 2
        assert len(set(patterns)) >= min(len(patterns) - 1, 3)

    def test_nothing_is_wrong_in_the_console(self, page):
        assert severe(page) == []

    def test_its_static_twin_stays_without_scripts(self, page):
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            page.refresh()
            host = page.find_element(By.CSS_SELECTOR, ".interactive")
            assert "with JavaScript" in " ".join(host.text.split())
            assert page.find_elements(By.CSS_SELECTOR, ".interactive input") == []
            assert page.find_elements(By.CSS_SELECTOR, "figure img[src$='.svg']")
        finally:
            page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
            page.get("about:blank")


@pytest.mark.site
def test_scripts_are_loaded_only_where_they_are_used(site):
    for path in read_pages(site):
        html = path.read_text(encoding="utf-8")
        used = set(re.findall(r'data-interactive="([^"]+)"', html))
        loaded = set(re.findall(r'src="[^"]*/interactive/([\w-]+)\.js', html))
        assert loaded == (used | {"figure"} if used else set()), path.name


def doctree(*fragments: str) -> nodes.document:
    document = nodes.document(None, None)
    document += [nodes.raw("", fragment, format="html") for fragment in fragments]
    return document


def test_figures_are_found_in_a_page():
    page = doctree('<div class="interactive" data-interactive="likelihood" data-size="5">', "<p>")
    assert interactive_figures(page) == ["likelihood"]
    assert interactive_figures(doctree("<div data-other='likelihood'>")) == []
    assert (FIGURES / "likelihood.js").is_file()


def test_a_figure_that_does_not_exist_stops_the_build():
    with pytest.raises(ValueError, match="book/x: no interactive figure 'nothing'"):
        add_scripts(None, "book/x", "", None, doctree('<div data-interactive="nothing">'))
