"""Text out of HTML and out of manual pages (troff), keeping paragraphs, headings and examples apart."""

from __future__ import annotations

import re
from html.parser import HTMLParser


def names(line: str) -> frozenset[str]:
    """A set of words, written as one line of them."""
    return frozenset(line.split())


DROPPED = names("script style head template svg math nav noscript")
BLOCKS = names(
    "address article aside blockquote body br caption dd details div dl dt fieldset figcaption figure footer form "
    "h1 h2 h3 h4 h5 h6 header hr li main ol option p pre section summary table tbody td tfoot th thead tr ul"
)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._dropped = 0  # open elements whose content is no text
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in DROPPED:
            self._dropped += 1
        if tag == "body":  # a head that was never closed ends here
            self._dropped = 0
        if tag == "pre":
            self._preformatted += 1
        if tag in BLOCKS:
            self.parts.append("\n" if tag in ("br", "li", "tr", "td", "th", "dt", "dd") else "\n\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in DROPPED and self._dropped:
            self._dropped -= 1
        if tag == "pre" and self._preformatted:
            self._preformatted -= 1
        if tag in BLOCKS and tag not in ("td", "th", "li", "dt"):
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self.parts.append(data if self._preformatted else re.sub(r"\s+", " ", data))


def html_text(page: str) -> str:
    """The words of an HTML page; scripts, styles and navigation left out, paragraphs and <pre> kept."""
    parser = _Words()
    parser.feed(page)
    parser.close()
    text = "".join(parser.parts).replace("\xa0", " ").replace("¶", "")
    text = re.sub(r"[ \t]+\n", "\n", text)
    text = re.sub(r"\n (?=\S)", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


ESCAPES = {
    "\\\\": "\\", r"\-": "-", r"\e": "\\", r"\&": "", r"\|": "", r"\/": "", r"\,": "", r"\:": "", r"\%": "", r"\c": "",
    r"\ ": " ", r"\~": " ", r"\0": " ", r"\'": "'", r"\`": "`", r"\.": ".", r"\(aq": "'", r"\(dq": '"',
    r"\(bu": "*", r"\(co": "(c)", r"\(lq": '"', r"\(rq": '"', r"\(oq": "'", r"\(cq": "'", r"\(em": "-",
    r"\(en": "-", r"\(ti": "~", r"\(ha": "^", r"\(rs": "\\", r"\(<=": "<=", r"\(>=": ">=", r"\(->": "->",
    r"\(mu": "x", r"\(+-": "+-", r"\(de": " degrees",
}  # fmt: skip
ESCAPE = re.compile(r"\\(?:\(..|f(?:\(..|\[[^\]]*\]|.)|s[+-]?\d+|\*(?:\(..|\[[^\]]*\]|.)|\[[^\]]*\]|.)")
FONTS = names("B I R BR IR RB RI BI IB SM SB")
MDOC_WORDS = names("Nm Fl Ar Xr Cm Pa Ev Dq Sq Va Fn Ft Li It Em Sy Op Dv Er In Vt Fa Ql Nd Ic Tn")
BREAKS = names("PP P LP IP TP HP Pp sp br RS RE fi nf EX EE TQ Bl El Bd Ed")
HEADINGS = names("SH SS Sh Ss")


def man_text(page: str) -> str:
    """The words of a manual page in troff's man or mdoc macros; layout requests, fonts and comments are left out."""
    out: list[str] = []
    definition = False
    for line in page.split("\n"):
        if definition:
            definition = not line.startswith("..")
            continue
        if line[:1] not in ".'" or line[:2] == ".\\" or not line:
            if line[:2] not in (".\\", "'\\"):
                out.append(_unescape(line).rstrip())
            continue
        request, _, rest = line[1:].lstrip().partition(" ")
        if request in ("de", "ig", "am"):
            definition = True
        elif request in HEADINGS:
            out.append("\n" + " ".join(_arguments(rest)) + "\n")
        elif request in BREAKS:
            tag = _arguments(rest)[:1] if request in ("IP", "TQ") else []
            out.append("\n" + "".join(tag))
        elif request in FONTS:
            out.append(("" if len(request) == 2 and request not in ("SM", "SB") else " ").join(_arguments(rest)))
        elif request in MDOC_WORDS:
            out.append(" ".join(a for a in _arguments(rest) if a not in MDOC_WORDS))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def _arguments(rest: str) -> list[str]:
    return [_unescape(quoted or bare) for quoted, bare in re.findall(r'"((?:[^"]|"")*)"|(\S+)', rest)]


def _unescape(line: str) -> str:
    return ESCAPE.sub(lambda m: ESCAPES.get(m[0], m[0][1:] if m[0] in (r"\"", r"\{") else ""), line)
