"""The site as a reader meets it: opened from a disk, in a real browser, without a network."""

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browser
import pytest
import torch

from pixellib.likelihoods import LogisticMixture
from pixellib.series import execute
from pixellib.series.site import render

pytestmark = browser.needed
NAMES = execute.names()
PAGES = ["index", "playground", "library", *(name.removesuffix(".html") for name in render.DOCUMENTS.values()), *NAMES]
CONTRAST = """([one, other]) => {  // of two colours, as WCAG 2 defines it
  const light = (colour) => {
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const [a, b] = [light(one), light(other)];
  return Math.max(a, b) / Math.min(a, b);
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a site") / "site"
    sources = [str(execute.source(name)) for name in NAMES]
    render.main("front", str(folder), *sources)
    render.main("page", str(folder), *sources)
    return folder


@pytest.fixture(scope="module")
def chromium():
    with browser.browser() as chromium:
        yield chromium


@pytest.fixture
def visit(site, chromium):
    """visit(name, **options) opens a page; `page.faults` has what the browser complains of or asks others for."""
    contexts = []

    def visit(name, **options):
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.faults = []
        page.on("console", lambda message: message.type == "error" and page.faults.append(message.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("requestfailed", lambda request: page.faults.append(f"failed: {request.url[:200]}"))
        page.on("request", lambda request: request.url.startswith("http") and page.faults.append(request.url))
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_complete_and_its_links_lead_somewhere(visit, site, name):
    page = visit(name)
    page.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true; })")
    sizes = page.eval_on_selector_all("math", "all => all.map((m) => m.getBoundingClientRect().height)")
    assert all(size > 0 for size in sizes), "a formula is not drawn"
    images = page.eval_on_selector_all("img", "all => all.map((i) => [i.alt.trim(), i.naturalWidth])")
    assert all(alt and width > 0 for alt, width in images)
    for href in page.eval_on_selector_all("a[href]", "all => all.map((a) => a.href)"):
        link = urlsplit(href)
        if link.scheme == "file":
            target = Path(unquote(link.path))
            assert target.parent == site and target.is_file(), href
            assert not link.fragment or f'id="{link.fragment}"' in target.read_text(encoding="utf-8"), href
        else:
            assert link.scheme == "https", href
    assert page.faults == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_off_on_a_phone(visit, name):
    page = visit(name, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "the page itself must not scroll sideways"
    cut = """all => all.filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX != 'auto'
                                      && getComputedStyle(e.parentElement).overflowX != 'auto').length"""
    assert page.eval_on_selector_all("pre, table, .output_area, math[display=block]", cut) == 0
    items = page.eval_on_selector_all(".text li", "all => all.map((item) => getComputedStyle(item).overflowX)")
    assert set(items) <= {"visible"}, "a list that cuts off what is beside it has no numbers"
    page.fill("#search", "logistic")
    page.locator("#found a").first.wait_for()
    box = page.locator(".results").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390, "what is found is not cut off either"


def test_a_figure_fits_on_a_phone_and_grows_when_it_is_tapped(visit):
    page = visit(NAMES[5], viewport={"width": 390, "height": 844})
    widths = page.eval_on_selector_all(".output_area img", "all => all.map((image) => image.clientWidth)")
    assert widths and max(widths) <= 390
    page.locator(".enlarge").first.click()
    whole = page.locator("dialog.whole")
    assert whole.locator("img").evaluate("image => image.clientWidth") > 600
    assert whole.evaluate("e => e.clientHeight >= 0.95 * innerHeight && e.scrollWidth > e.clientWidth"), "it scrolls"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "it scrolls in a box of its own"
    whole.locator("button").click()
    assert page.locator("dialog").count() == 0
    assert page.faults == []


def test_each_figure_has_its_number_and_its_text_below(visit):
    page = visit(NAMES[0])
    captions = page.locator("figcaption").all_inner_texts()
    texts = page.eval_on_selector_all(".output_area img", "all => all.map((image) => image.alt)")
    assert captions == [f"Figure {number}. {text}" for number, text in enumerate(texts, 1)] and captions


def test_a_term_that_latex_underlines_with_a_brace_has_a_line_as_wide_as_itself(visit):
    """Chromium draws only a half of a wide brace on a screen with two dots for each pixel."""
    page = visit(NAMES[0], device_scale_factor=2)
    assert "⏟" not in page.inner_text("main")
    underlined = page.locator(".underlined").first
    assert underlined.evaluate("e => parseFloat(getComputedStyle(e).borderBottomWidth)") > 0
    assert underlined.bounding_box()["width"] > 50


def test_what_was_found_is_reached_with_arrows_and_enter(visit):
    page = visit(NAMES[0])
    page.fill("#search", "blind spot")
    page.locator("#found a").nth(1).wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator("#found a").nth(1).evaluate("link => link === document.activeElement")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.locator("#search").evaluate("box => box === document.activeElement")
    first = page.locator("#found a").first.get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{first}")


def test_formulas_are_drawn_with_a_font_that_was_made_for_them(visit):
    """Without one, fraction bars run through letters and brackets do not grow, and not every machine has one."""
    page = visit(NAMES[0])
    page.wait_for_function("document.fonts.status === 'loaded'")
    loaded = page.evaluate("[...document.fonts].filter((font) => font.status === 'loaded').map((font) => font.family)")
    assert any("STIX Two Math" in family for family in loaded)
    assert "STIX Two Math" in page.eval_on_selector("math", "one => getComputedStyle(one).fontFamily")


def test_a_heading_that_was_jumped_to_is_not_covered(visit):
    page = visit(NAMES[0], viewport={"width": 768, "height": 1024})
    page.evaluate("location.hash = 'References'")
    page.wait_for_function("scrollY > 1000")
    bar, heading = (page.locator(where).bounding_box() for where in (".bar", "#References"))
    assert heading["y"] >= min(bar["y"] + bar["height"], 0) and heading["y"] >= 0


def test_a_print_is_dark_on_white(visit):
    page = visit(NAMES[0], color_scheme="dark")
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.inner_text("#theme") == "theme: dark"
    page.emulate_media(media="print")
    colour = page.eval_on_selector(".text p", "one => getComputedStyle(one).color")
    assert page.evaluate(CONTRAST, [colour, "rgb(255, 255, 255)"]) >= 7
    assert not page.locator(".bar").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(visit, scheme):
    page = visit(NAMES[0], color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 384) == (scheme == "light")
    for selector in (".text p", ".text a", ".contents a", ".highlight .k", ".highlight .s2", ".highlight .c1", "pre"):
        colours = page.eval_on_selector_all(selector, """all => all.slice(0, 1).map((element) => {
            let behind = element;
            while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
            return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        })""")  # fmt: skip
        assert colours and page.evaluate(CONTRAST, colours[0]) >= 4.5, f"{selector}: {colours}"


def test_the_button_chooses_a_theme(visit):
    page = visit(NAMES[0], color_scheme="light")
    button = page.locator("#theme")
    seen = []
    for _ in range(3):
        button.click()
        seen.append((button.inner_text(), page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert [text for text, _ in seen] == ["theme: light", "theme: dark", "theme: system"]
    assert seen[0][1] == seen[2][1] != seen[1][1]


def test_code_is_copied(visit):
    page = visit(NAMES[0])
    first = page.locator(".input").first
    first.hover()
    first.locator(".copy").click()
    first.get_by_text("copied").wait_for()
    page.locator("#search").focus()
    page.keyboard.press("Control+V")
    assert 'profile = "reference"' in page.input_value("#search")
    assert page.faults == []


FOUND = {
    "reparameterization": "01_iwae", "Kullback-Leibler": "01_iwae", "normalizing flow": "05_dequantized_flows",
    "dequantization": "05_dequantized_flows", "discretized": "03_logistic_vae",
    "conditional_log_pmf": "03_logistic_vae",
}  # fmt: skip


@pytest.mark.parametrize("words", FOUND)
def test_search_finds_the_usual_terms_in_either_spelling_and_code(visit, words):
    page = visit("index")
    page.fill("#search", words)
    page.locator("#found a").first.wait_for()
    pages = page.eval_on_selector_all("#found a", "all => all.map((link) => link.getAttribute('href'))")
    assert any(link.startswith(FOUND[words]) for link in pages), pages


def test_search_puts_words_side_by_side_first_and_says_how_much_it_leaves_out(visit):
    page = visit("index")
    page.fill("#search", "bits-back")
    page.locator("#found a").first.wait_for()
    assert "bits-back" in page.locator("#found a").first.inner_text().lower()
    page.fill("#search", "the")
    page.get_by_text("The first 12 of").wait_for()
    assert page.locator("#found a").count() == 12


def test_search_leads_to_the_section_and_closes(visit):
    page = visit("index")
    page.keyboard.press("Control+k")
    page.keyboard.type("reparameterisation")
    link = page.locator("#found a").first
    link.wait_for()
    link.click()
    page.wait_for_url("**/0*.html*")
    assert "reparameteris" in page.inner_text("main").lower()
    page.fill("#search", "references")
    page.locator(f"#found a[href*='{page.url.rpartition('/')[2].partition('#')[0]}']").first.click()
    assert page.locator("#found a").count() == 0, "also where the section is on the same page"
    page.fill("#search", "no such words anywhere xyzzy")
    page.get_by_text("Nothing found.").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("#found a").count() == 0
    assert page.faults == []


def test_every_section_that_search_can_find_is_there(site):
    found = json.loads(
        (site / "search.js").read_text(encoding="utf-8").removeprefix("window.SECTIONS = ").rstrip(";\n")
    )
    assert {section["page"] for section in found} == set(NAMES)
    for section in found:
        anchor = section["anchor"]
        assert not anchor or f'id="{anchor}"' in (site / f"{section['page']}.html").read_text(encoding="utf-8")


def test_the_playground_draws_the_pmf_of_the_library(visit):
    page = visit("playground")
    before = page.evaluate("window.playground")
    for name in page.locator("#presets button").all_inner_texts():
        page.get_by_role("button", name=name, exact=True).click()
        shown = page.evaluate("window.playground")
        weights, means, scales = torch.tensor(shown["components"], dtype=torch.float64).T
        # the library counts in multiples of half the range of levels, from its middle
        params = torch.cat([weights.clamp(min=1e-30).log(), means / 127.5 - 1, (scales / 127.5).log()]).view(
            1, -1, 1, 1
        )
        likelihood = LogisticMixture(3, coupled=False, min_log_scale=-20.0)
        pmf = likelihood(params).conditional_log_pmf(torch.zeros(1, 1, 1, 1, dtype=torch.uint8)).exp()
        torch.testing.assert_close(torch.tensor(shown["pmf"]).double(), pmf.flatten().double(), atol=1e-6, rtol=1e-5)
    page.locator("#components input[type=range]").nth(1).fill("30")
    assert page.evaluate("window.playground.pmf[30]") > before["pmf"][30]
    said = page.inner_text("#says")
    page.locator("#plot").hover(position={"x": 200, "y": 100})
    assert page.inner_text("#says") != said
    page.locator("#level").fill("200")
    assert page.inner_text("#says").startswith("Level 200: probability below 1e-300, ")
    assert "Infinity" not in page.inner_text("#says"), "the logarithm is finite where the probability is too small"
    for weight in page.locator("#components input[aria-label$=weight]").all():
        weight.fill("0")
    assert "NaN" not in page.locator("#plot .bars").get_attribute("d"), "components without weight count alike"
    assert sum(page.evaluate("window.playground.pmf")) == pytest.approx(1)
    path = page.locator("#plot .bars").get_attribute("d")
    page.check("#bits")
    assert page.locator("#plot .bars").get_attribute("d") != path
    assert page.faults == []
