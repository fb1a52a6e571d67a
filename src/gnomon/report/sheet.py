"""What every page of gnomon shares: one base (base.html), its styles, the theme switch, a policy that lets nothing in.

A page asks nobody for anything: its Content-Security-Policy allows only the script that it names by hash.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from gnomon.figures import motif, numbers
from gnomon.figures.theme import stylesheet

TOGGLE = """(function () {
  var root = document.documentElement, button = document.getElementById("theme");
  var dark = matchMedia("(prefers-color-scheme: dark)");
  function now() { return root.dataset.theme || (dark.matches ? "dark" : "light"); }
  function say() { button.textContent = now() === "dark" ? "Light" : "Dark"; }
  button.hidden = false;
  button.onclick = function () { root.dataset.theme = now() === "dark" ? "light" : "dark"; say(); };
  dark.onchange = say;
  say();
})();"""


def sheet(
    template: str, values: dict[str, Any], theme: str = "", styles: tuple[str, ...] = (), scripts: tuple[str, ...] = ()
) -> str:
    """A page from a template of this folder that extends base.html.

    values: what the template reads; figures go in as Markup. styles, scripts: further files of this folder. theme: ''
    follows the reader's system, 'light' or 'dark' fixes it. Raises ValueError for another theme.
    """
    if theme not in ("", "light", "dark"):
        raise ValueError(f"theme {theme!r}: '', 'light' or 'dark'")
    import jinja2
    from markupsafe import Markup

    here = files("gnomon.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (here / name).read_text()),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "power": numbers.power,
        "count": numbers.count,
        "duration": numbers.duration,
        "percent": numbers.percent,
        "bytes": numbers.byte_size,
    }
    script = "\n".join([TOGGLE, *((here / name).read_text() for name in scripts)])
    css = stylesheet() + "".join((here / name).read_text() for name in ("page.css", *styles))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shared = {"css": Markup(css), "script": Markup(script), "script_hash": digest, "mark": Markup(motif.mark())}
    return environment.get_template(template).render(**shared, theme=theme, **values)
