"""The page of the library: every public name with its signature and its docstring, in HTML."""

import inspect
import re
from collections.abc import Iterable
from html import escape
from importlib import import_module

NAMES = {  # by module; of those that list their public names, all of these
    "likelihoods": None,
    "models": None,
    "training": None,
    "evaluation": ("evaluate", "Estimate", "bits_per_dim"),
    "data": None,
    "coding": None,
    "optim": ("Muon",),
    "checkpoints": ("save", "load", "restore", "CheckpointError"),
    "devices": ("resolve", "autocast"),
}
QUALIFIED = re.compile(r"\b(?:pixellib|typing|collections|pathlib|torch)[.](?:[a-z_]+[.]|_C[.])*(?=[A-Z])")


def reference() -> str:
    """A section for each public module, and in it one for each of its names."""
    sections = []
    for name, chosen in NAMES.items():
        module = import_module(f"pixellib.{name}")
        entries = [_entry(f"{name}.{key}", key, getattr(module, key)) for key in chosen or module.__all__]
        sections.append(f'<h2 id="{name}"><code>pixellib.{name}</code></h2>\n{_text(module.__doc__)}{"".join(entries)}')
    links = ", ".join(f'<a href="#{name}">{name}</a>' for name in NAMES)
    return f"<p>The public names of <code>pixellib</code>, by module: {links}.</p>\n{''.join(sections)}"


def _entry(anchor: str, name: str, thing: object) -> str:
    """One name; of a class also the methods that it defines and describes."""
    html = f'<h3 id="{anchor}"><code>{name}</code></h3>\n'
    if not callable(thing):
        return f"{html}<p><code>{escape(repr(thing))}</code></p>\n"
    html += _described(name, thing)
    if inspect.isclass(thing):
        methods = [(key, value) for key, value in vars(thing).items() if key[0] != "_" and inspect.isfunction(value)]
        html += "".join(f'<div class="method">{_described(*method)}</div>\n' for method in methods if method[1].__doc__)
    return html


def _described(name: str, thing: object) -> str:
    """Signature, on one line or with a line for each parameter, and docstring."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):  # of an exception, for example
        return f"<pre><code>{name}</code></pre>\n{_text(thing.__doc__)}"
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    text = str(signature.replace(parameters=parameters))
    if len(text) > 90:
        for parameter in parameters:
            text = text.replace(f", {parameter}", f",\n    {parameter}").replace(f"({parameter}", f"(\n    {parameter}")
        text = text.replace(", *,", ",\n    *,").replace("(*,", "(\n    *,")
    return f"<pre><code>{escape(name + QUALIFIED.sub('', text))}</code></pre>\n" + _text(
        inspect.getdoc(thing), [parameter.name for parameter in parameters]
    )


def _text(docstring: str | None, parameters: Iterable[str] = ()) -> str:
    """Paragraphs of a docstring, with its examples as they stand, and parameters in bold where they are explained."""
    html = ""
    for paragraph in inspect.cleandoc(docstring or "").split("\n\n"):
        text = escape(paragraph)
        if paragraph.lstrip().startswith(">>>"):
            html += f"<pre><code>{text}</code></pre>\n"
        elif text:
            text = re.sub("`+([^`]+)`+", r"<code>\1</code>", text)
            for name in parameters:
                text = re.sub(rf"(^|[.,;)] |\n)({name})(?=:|, [a-z_]+:)", r"\1<strong>\2</strong>", text)
            html += f"<p>{text}</p>\n"
    return html
