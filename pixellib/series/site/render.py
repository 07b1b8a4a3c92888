"""Render executed notebooks for the site.

python -m pixellib.series.site.render page FOLDER NOTEBOOK.ipynb           the page of one, and the file to download
python -m pixellib.series.site.render front FOLDER NOTEBOOK.ipynb [...]    all else: contents, playground, search, style
"""

import base64
import io
import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from html import escape, unescape
from itertools import count, pairwise
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from PIL import Image
from traitlets.config import Config

from pixellib import files
from pixellib.series import execute, paths
from pixellib.series.site.reference import reference

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"
HEADING = re.compile(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link".*?</h2>', re.DOTALL)
THUMBNAIL = (1400, 512)  # pixels at most, of a figure on the page of all notebooks
DOCUMENTS = {  # texts of the repository that have a page of the site: file and page
    "notebooks/10_plan.md": "10_plan.html",
    "figures/results/README.md": "results.html",
    "data/README.md": "data.html",
}
FIGURES_LINE = re.compile(r"<p><strong>Figures[.]</strong>.*?</p>\n?", re.DOTALL)  # names of files, for who runs it
SHORT_NUMBERS = re.compile(r"<td([^>]*>[^<]{0,30}\d[^<]{0,30}</td>)")  # such as 0.764 ± 0.003
FIGURE = re.compile(r'<img alt="([^"]+)"[^>]*>')
UNDERBRACE = re.compile(r"<munder><munder>(.*?)<mo>&#x23DF;</mo></munder>", re.DOTALL)
CITATION, NUMBER = re.compile(r"\[[1-9]\d*(?:, [1-9]\d*)*\]"), re.compile(r"\d+")


def _formula(latex: str, **options: str) -> str:
    """MathML, with the space between a function and its argument that latex2mathml leaves out, and with a line in place
    of a brace below, of which some browsers draw only a half on a dense screen.
    """
    function = r"<mi>(?:log|ln|exp|max|min|tanh)</mi>"
    spaced = re.sub(
        rf"({function}|<msub>{function}.*?</msub>)(?=<m(?:[ins]|frac))",
        r'\1<mspace width="0.17em" />',
        convert(latex, **options),
    )
    return UNDERBRACE.sub(r'<munder><mrow class="underlined">\1</mrow>', spaced)


class _Markdown(IPythonRenderer):
    """Formulas become MathML, which browsers draw themselves; links lead to pages of the site, or elsewhere, and [1] to
    the first reference. A notebook that is named by its file gets its title.
    """

    def text(self, text: str) -> str:
        return CITATION.sub(
            lambda found: NUMBER.sub(r'<a href="#reference-\g<0>">\g<0></a>', found[0]), super().text(text)
        )

    def inline_math(self, body: str) -> str:
        return f'<span class="formula">{_formula(body)}</span>'

    def block_math(self, body: str) -> str:
        return _formula(body, display="block")

    def multiline_math(self, text: str) -> str:
        return self.block_math(text.strip().strip("$"))

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def table(self, text: str) -> str:
        return f'<div class="table"><table>\n{text}</table></div>\n'  # a wide one scrolls by itself

    def link(self, text: str, url: str, title: str | None = None) -> str:
        notebook = re.fullmatch(r"(\d\d_\w+)\.ipynb(#.*)?", url)
        document = DOCUMENTS.get(url.removeprefix("../") if url.startswith("../") else f"notebooks/{url}")
        if notebook and notebook[1] in execute.names():
            url = f"{notebook[1]}.html{notebook[2] or ''}"
            text = _title(execute.source(notebook[1])) if text == notebook[1] else text
        elif document:
            url = document
        elif not url.startswith(("https:", "#")):  # a file that the site does not have
            return text
        return super().link(text, url, title)


def _html(markdown: str) -> str:
    html = MarkdownWithMath(renderer=_Markdown(escape=False)).render(markdown)
    return re.sub(r"</math></span>([.,;:?!)]+)", r"</math>\1</span>", html)  # no line begins with a comma


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context: object, source: str) -> str:
        return _html(source)


def page(file: Path) -> str:
    """The page of an executed notebook, without the cell papermill added."""
    notebook = nbformat.read(file, as_version=4)
    titles = {name: _title(execute.source(name)) for name in execute.names()}
    notebook.metadata |= {"title": _title(file), "titles": titles, "file": file.stem, "beside": _beside(file.stem)}
    config = Config()
    config.HTMLExporter.template_name = "pixels"
    config.HTMLExporter.extra_template_basedirs = [str(TEMPLATES)]
    config.HTMLExporter.extra_template_paths = [str(TEMPLATES)]
    config.HTMLExporter.preprocessors = ["nbconvert.preprocessors.TagRemovePreprocessor"]
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = ["injected-parameters"]
    html, _ = _Exporter(config=config).from_notebook_node(notebook)
    html = SHORT_NUMBERS.sub(r'<td style="white-space: nowrap"\1', html)
    html = FIGURES_LINE.sub("", _with_captions(_with_anchors_of_references(html)), count=1)
    html = html.replace('class="anchor-link"', 'class="anchor-link" aria-label="Link to this section"')
    contents = "".join(f'<li><a href="#{anchor}">{text}</a></li>' for anchor, text in HEADING.findall(html))
    return html.replace("<!-- contents -->", f"<ol>{contents}</ol>", 1)


def download(file: Path) -> str:
    """The executed notebook as a file to download, without what papermill added: its parameters name folders of the
    machine that it ran on.
    """
    notebook = execute.read(file)
    notebook.cells = [cell for cell in notebook.cells if execute.INJECTED not in cell.metadata.get("tags", [])]
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
    return nbformat.writes(notebook) + "\n"


def _with_anchors_of_references(html: str) -> str:
    before, heading, after = html.partition('<h2 id="References">')
    listed, end, rest = after.partition("</ol>")
    number = count(1)
    listed = re.sub("<li>", lambda _: f'<li id="reference-{next(number)}">', listed)
    return before + heading + listed + end + rest


def _with_captions(html: str) -> str:
    """Below each figure its number and its alternative text, which a screen reader need not say twice."""
    number = count(1)
    caption = r'<figure>{}<figcaption aria-hidden="true">Figure {}. {}</figcaption></figure>'
    return FIGURE.sub(lambda found: caption.format(found[0], next(number), found[1]), html)


def _beside(name: str) -> dict[str, str]:
    """The notebooks before and after one of the series, by name; without those that are not there."""
    names = execute.names()
    pairs = [("previous", one) for one, other in pairwise(names) if other == name]
    return dict(pairs + [("next", other) for one, other in pairwise(names) if one == name])


def _title(file: Path) -> str:
    """A notebook's first heading. Without nbformat, which takes a second for a dozen of them."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    text = next(("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"), "")
    return text.strip().partition("\n")[0].lstrip("# ").strip() or file.stem


def summary(file: Path) -> dict:
    """A notebook's name, title (first heading), question (the paragraph below it) and first figure, made small."""
    notebook = nbformat.read(file, as_version=4)
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    rest = text.strip().partition("\n")[2]
    rest = re.sub(r"<!--.*?-->", "", rest, flags=re.DOTALL)  # marks of what `make publish` writes
    question = rest.strip().split("\n\n")[0].replace("\n", " ")
    return {
        "name": file.stem,
        "title": _title(file),
        "question": _sentence(question),
        "figure": next(_figures(notebook), None),
    }


def _sentence(markdown: str) -> str:
    """HTML of a paragraph for another page: formulas as MathML, no links, references or emphasis."""
    html = _html(re.sub(r" ?\[\d+(?:, \d+)*\](?!\()", "", markdown))
    return re.sub(r"</?(?:p|a|em|strong|code|span)\b[^>]*>", "", html).strip()


def _figures(notebook: NotebookNode) -> Iterator[dict[str, str]]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png:
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                yield {"png": _thumbnail(png), "alt": alt}


def _thumbnail(png: str) -> str:
    """A PNG in base64, no larger than `THUMBNAIL`."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        picture.thumbnail(THUMBNAIL)
        picture.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def sections(file: Path) -> list[dict[str, str]]:
    """What is searched: for each section of a notebook its page, title, heading, anchor and text, with its code."""
    notebook = nbformat.read(file, as_version=4)
    cells = (cell for cell in notebook.cells if execute.INJECTED not in cell.metadata.get("tags", []))
    html = "\n".join(
        _html(cell.source) if cell.cell_type == "markdown" else f"<pre>{escape(cell.source)}</pre>" for cell in cells
    )
    first, *others = HEADING.split(html)  # then anchor, heading, text, anchor, ...
    found = [("", "", first), *zip(others[::3], others[1::3], others[2::3], strict=True)]
    title = _title(file)
    return [
        {"page": file.stem, "title": title, "heading": _plain(heading), "anchor": anchor, "text": _plain(text)}
        for anchor, heading, text in found
    ]


def _plain(html: str) -> str:
    html = re.sub(r'<a class="anchor-link".*?</a>|<h1.*?</h1>|<!--.*?-->', " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def _verdict() -> str:
    """What the series found, from the README, where `make publish` writes it; empty where there is none."""
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- verdict.*?-->(.*?)<!-- /verdict -->", readme, re.DOTALL)
    return _html(found[1]) if found else ""


def _embedded(folder: Path, found: re.Match) -> str:
    return f'src="data:image/png;base64,{base64.b64encode((folder / found[1]).read_bytes()).decode()}"'


def front(notebooks: list[Path]) -> dict[str, bytes]:
    """The files beside the pages of notebooks: name and content."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    found = [section for notebook in notebooks for section in sections(notebook)]
    contents, document = (environment.get_template(f"{name}.html.j2") for name in ("contents", "document"))
    written = {
        "index.html": contents.render(pages=[summary(notebook) for notebook in notebooks], verdict=_verdict()),
        "playground.html": environment.get_template("playground.html.j2").render(),
        "library.html": document.render(title="The library", text=reference()),
        "search.js": f"window.SECTIONS = {json.dumps(found, ensure_ascii=False)};\n",
    }
    for file, name in DOCUMENTS.items():
        title, _, text = (paths.ROOT / file).read_text(encoding="utf-8").strip().partition("\n")
        html = re.sub(r'src="([^":]+[.]png)"', partial(_embedded, (paths.ROOT / file).parent), _html(text))
        written[name] = document.render(title=title.lstrip("# "), text=html)
    static = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir())}
    return static | {name: text.encode() for name, text in written.items()}


def main(kind: str, folder: str, *notebooks: str) -> None:
    folder, sources = Path(folder), [Path(notebook) for notebook in notebooks]
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "front":
        written = front(sources)
    else:
        written = {f"{source.stem}.html": page(source).encode() for source in sources}
        written |= {source.name: download(source).encode() for source in sources}
    for name, content in written.items():
        files.write_atomically(folder / name, lambda temporary, content=content: temporary.write_bytes(content))


if __name__ == "__main__":
    main(*sys.argv[1:])
