"""The contents page of the site says what a reader of it needs, and shows nothing of how notebooks are made."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import pixellib
from pixellib.series import execute
from pixellib.series.site import reference, render


def test_the_question_of_a_notebook_is_its_first_paragraph_without_the_marks_of_publishing(tmp_path):
    # a mark such as `<!-- verdict: ... -->` stands before a text that `make publish` writes, and was shown as it stands
    text = "# A title\n\n<!-- verdict: by `make publish` -->\n\n**It holds**, by *a bit*.\n\n<!-- /verdict -->\n\nMore."
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), tmp_path / "01_a.ipynb")
    found = render.summary(tmp_path / "01_a.ipynb")
    assert (found["title"], found["question"]) == ("A title", "It holds, by a bit.")


@pytest.mark.parametrize("name", execute.names())
def test_no_source_is_shown_on_the_contents_page(name):
    found = render.summary(execute.source(name))
    assert found["title"] and found["question"] and found["figure"]["alt"]
    shown = re.sub(r"<math.*?</math>", "", found["question"], flags=re.DOTALL)
    assert not re.search(r"<|[$\\\]]", shown), shown


def test_formulas_are_drawn_without_a_script(tmp_path):
    formula = "$$\n\\sum_i \\frac{a}{b} = \\mathrm{KL}(q \\,\\|\\, p)\n$$"
    text = f"# A title\n\nLet $x_1 < 2$ and\n\n{formula}\n\nIn code: `$x$`."
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), tmp_path / "01_a.ipynb")
    html = render.page(tmp_path / "01_a.ipynb")
    assert html.count("<math") == 2 and len(re.findall(r'<math[^>]*display="block"', html)) == 1
    assert "<mfrac>" in html and "<code>$x$</code>" in html


@pytest.mark.parametrize("name", execute.names())
def test_a_page_loads_nothing_from_elsewhere_and_leaves_no_formula_as_source(name):
    html = render.page(execute.source(name))
    assert re.findall(r"<script[^>]+>", html) == ['<script src="site.js">'], "without widgets, a page needs no other"
    assert not re.findall(r"<(?:link|img|iframe)[^>]+(?:href|src)=\"https?:[^>]*>", html)
    prose = re.sub(r"<pre.*?</pre>|<code.*?</code>|<style.*?</style>", "", html, flags=re.DOTALL)
    assert not re.findall(r"\$\$|\$\\|\$[A-Za-z]|\\begin", prose)
    assert "No description has been provided" not in html, "which stands in for a missing alternative text"
    assert "output_stderr" not in html, "a warning is no part of a page"


def test_a_page_names_notebooks_by_title_and_leads_to_the_texts_that_it_names(tmp_path):
    name = execute.names()[0]
    text = f"# A title\n\n[{name}]({name}.ipynb), [the plan](10_plan.md), [x](../x.py)"
    text += ", [all](../figures/results/README.md)"
    nbformat.write(
        new_notebook(cells=[new_markdown_cell(f"{text}\n\n**Figures.** `a`, `_b`.")]), tmp_path / "01_a.ipynb"
    )
    html = render.page(tmp_path / "01_a.ipynb")
    title = re.escape(render.summary(execute.source(name))["title"])
    assert re.search(rf'<a href="{name}.html">{title}</a>', html)
    assert '<a href="10_plan.html">the plan</a>' in html and '<a href="results.html">all</a>' in html
    assert ">x<" not in html and "Figures." not in html, "neither dead links nor names of files for who runs a notebook"


def test_a_formula_and_the_comma_after_it_stay_on_one_line(tmp_path):
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A title\n\nLet $x$, and $y$.")]), tmp_path / "01_a.ipynb")
    assert re.findall(r"</math>(.)</span>", render.page(tmp_path / "01_a.ipynb")) == [",", "."]


def test_the_contents_page_says_what_was_found():
    index = render.front([])["index.html"].decode()
    assert re.search(r'class="verdict".*bits per dimension.*href="10_permuted_intensities.html"', index, re.DOTALL)


def test_a_page_leads_to_its_sections_and_to_the_notebooks_beside_it():
    first, second = execute.names()[:2]
    html = render.page(execute.source(first))
    anchors = re.findall(r'<li><a href="#([^"]+)">', html)
    assert len(anchors) > 3 and all(f'<h2 id="{anchor}">' in html for anchor in anchors)
    assert f'href="{second}.html">next: {execute.names()[1][:2]}' in html and "previous:" not in html
    assert [f"{name}.html" for name in execute.names()] == re.findall(r'<li><a [^>]*href="(\d\d_\w+\.html)"', html)
    assert html.count('aria-current="page"') == 1


def test_neither_page_nor_download_shows_what_papermill_added(tmp_path):
    """Its cell of parameters names folders of the machine that the notebook ran on."""
    notebook = execute.read(execute.source(execute.names()[0]))
    injected = new_code_cell("figures_dir = '/home/somebody'", metadata={"tags": [execute.INJECTED], "papermill": {}})
    notebook.cells.insert(2, injected)
    notebook.metadata["papermill"] = {"input_path": "/home/somebody"}
    file = tmp_path / "01_a.ipynb"
    nbformat.write(notebook, file)
    render.main("page", str(tmp_path / "site"), str(file))
    for written in (tmp_path / "site").iterdir():
        assert "/home/somebody" not in written.read_text(encoding="utf-8"), written.name
    assert "/home/somebody" not in str(render.sections(file))


@pytest.mark.parametrize("name", execute.names())
def test_a_number_in_brackets_leads_to_its_reference(name):
    html = render.page(execute.source(name))
    cited = set(re.findall(r'href="#(reference-\d+)"', html))
    listed = re.findall(r'<li id="(reference-\d+)">', html)
    texts = [cell.source for cell in execute.read(execute.source(name)).cells if cell.cell_type == "markdown"]
    written = re.findall(r"^\d+\. ", "\n".join(texts).partition("## References")[2], flags=re.MULTILINE)
    assert len(listed) == len(written) and cited <= set(listed)
    assert cited or not re.search(r"\[[1-9]\]", re.sub(r"<(pre|code|script).*?</\1>", "", html, flags=re.DOTALL))


def test_the_page_of_the_library_has_every_public_name_with_what_it_takes():
    html = reference.reference()
    for name in set(pixellib.__all__) - set(reference.NAMES):
        assert re.search(rf'<h3 id="[a-z]+[.]{name}">', html), f"{name} is not there"
    text = re.sub(r"<[^>]+>", "", html)
    assert "fit(\n    model: ImageModel,\n    images: Tensor,\n    settings: Settings,\n    *,\n" in text
    assert "<strong>transform</strong>: applied to each batch" in html and "&gt;&gt;&gt; Bernoulli()(params)" in html
