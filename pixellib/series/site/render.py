"""Render executed notebooks for the site.

python -m pixellib.series.site.render page OUT.html NOTEBOOK.ipynb           one page
python -m pixellib.series.site.render index OUT.html [NOTEBOOK.ipynb ...]    the list of all
"""

import re
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

from pixellib import files
from pixellib.series import paths

TEMPLATES = Path(__file__).parent / "templates"


class _Markdown(IPythonRenderer):
    """Formulas become MathML, which browsers draw themselves: no script is loaded from anywhere."""

    def inline_math(self, body: str) -> str:
        return convert(body)

    def block_math(self, body: str) -> str:
        return convert(body, display="block")

    def multiline_math(self, text: str) -> str:
        return self.block_math(text.strip().strip("$"))


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context: object, source: str) -> str:
        return MarkdownWithMath(renderer=_Markdown(escape=False)).render(source)


def page(file: Path) -> str:
    """The page of an executed notebook, without the cell papermill added, and its links turned to pages."""
    notebook = nbformat.read(file, as_version=4)
    notebook.metadata["title"] = summary(file)["title"]
    notebook.metadata.pop("papermill", None)
    config = Config()
    config.HTMLExporter.template_name = "pixels"
    config.HTMLExporter.extra_template_basedirs = [str(TEMPLATES)]
    config.HTMLExporter.preprocessors = ["nbconvert.preprocessors.TagRemovePreprocessor"]
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = ["injected-parameters"]
    notebook.metadata["beside"] = _beside(file.stem)
    html, _ = _Exporter(config=config).from_notebook_node(notebook)
    headings = re.findall(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', html)
    contents = "".join(f'<li><a href="#{anchor}">{text}</a></li>' for anchor, text in headings)
    html = html.replace("<!-- contents -->", f"<ol>{contents}</ol>", 1)
    return re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', html)


def _beside(name: str) -> dict[str, str]:
    """The notebooks before and after one of the series, by name; without those that are not there."""
    names = sorted(path.stem for path in (paths.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    pairs = [("previous", one) for one, other in pairwise(names) if other == name]
    return dict(pairs + [("next", other) for one, other in pairwise(names) if one == name])


def summary(file: Path) -> dict:
    """A notebook's name, title (first heading), question (the paragraph below it) and first figure."""
    notebook = nbformat.read(file, as_version=4)
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    heading, _, rest = text.strip().partition("\n")
    rest = re.sub(r"<!--.*?-->", "", rest, flags=re.DOTALL)  # marks of what `make publish` writes
    question = rest.strip().split("\n\n")[0].replace("\n", " ")
    return {
        "name": file.stem,
        "title": heading.lstrip("# ").strip() or file.stem,
        "question": re.sub(r"[*_`]|\[|\]\([^)]*\)", "", question),
        "figure": next(_figures(notebook), None),
    }


def _figures(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png:
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                yield {"png": png.replace("\n", ""), "alt": alt}


def index(notebooks: list[Path]) -> str:
    """The list of all notebooks."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    return environment.get_template("contents.html.j2").render(pages=[summary(notebook) for notebook in notebooks])


def main(kind: str, output: str, *notebooks: str) -> None:
    sources = [Path(notebook) for notebook in notebooks]
    html = page(*sources) if kind == "page" else index(sources)
    files.write_atomically(output, lambda temporary: temporary.write_text(html, encoding="utf-8"))


if __name__ == "__main__":
    main(*sys.argv[1:])
