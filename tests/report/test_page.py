"""The page: one file that asks nobody for anything, true before, after a hit, after a miss."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.report import Answer, Finding, GuardRow, ReportData, Sample, read_report, render, save_report, write_report
from gnomon.report import words as say
from gnomon.report.page import figures

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Visible text, tags and attributes; a tag that is not closed is an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", [], []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == [], self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += data


def test_the_page_is_whole_and_asks_nobody(report: ReportData) -> None:
    page = render(report)
    read = Page(page)
    assert "http://" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "") and "https://" not in page
    assert not {"iframe", "img", "object", "embed", "base", "form"} & set(read.tags)
    assert [v for t, n, v in read.attributes if n in ("src", "href")] == ["data:,"]
    assert "@import" not in page and "url(" not in page
    assert page.count("<script>") == 1 and "default-src 'none'" in html.unescape(page)
    assert len(page) < 400_000


def test_the_verdict_is_said_plainly(report_of) -> None:
    hit, miss = say.verdict(report_of("hit")), say.verdict(report_of("miss"))
    assert hit.headline == "A hit, 0.8\u00a0% off." and "inside the 90" in hit.detail
    assert miss.headline.startswith("A miss, ") and "outside the 90" in miss.detail
    assert say.verdict(report_of("sealed")).headline == "Sealed: 1.984 bits per byte."
    assert "Nothing was sealed" in say.verdict(report_of("unregistered")).detail
    assert "diverged" in say.verdict(report_of("diverged")).headline
    for state in ("hit", "miss"):
        assert say.verdict(report_of(state)).headline in Page(render(report_of(state))).text


def test_before_the_target_nothing_pretends_to_be_an_outcome(report_of) -> None:
    text = Page(render(report_of("sealed"))).text
    assert "still in the envelope" in text and "outcome 2" not in text and "A hit" not in text and "A miss" not in text


def test_an_unregistered_target_says_so_on_top(report_of) -> None:
    text = Page(render(report_of("unregistered"))).text
    assert text.index("Unregistered.") < text.index("The forecast") and "sealed forecast" not in text
    assert "you would have known" not in text and "kept their word" not in text
    assert "Self-attested." in Page(render(report_of("hit"))).text


def test_a_broken_registry_is_shown(report_of) -> None:
    data = report_of("hit")
    broken = dataclasses.replace(data.registry, verified=False, problems=("entry 2 was edited",))
    text = Page(render(dataclasses.replace(data, registry=broken))).text
    assert "does not verify" in text and "entry 2 was edited" in text


def test_samples_and_names_stay_data(report_of) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    data = dataclasses.replace(
        report_of("hit"),
        title=evil,
        samples=(Sample(evil, (Answer(evil, evil, "target"),)),),
        findings=(Finding("error", evil, evil), Finding("note", evil)),
        corpus={"sources": [{"name": evil, "licence": evil}], evil: evil},
        machine=((evil, evil),),
    )
    page = render(data)
    assert page.count("<script>") == 1 and "<img" not in page
    assert Page(page).text.count(evil) >= 8, "it is all there, as text"


def test_each_figure_has_one_sentence(report: ReportData) -> None:
    captions = {name: caption for name, (_, caption) in figures(report).items()}
    assert set(captions) == {"loss", "envelope", "shares", "isoflop", "learning", "compute", "bits"}
    for name, caption in captions.items():
        assert caption.endswith(".") and len(re.findall(r"[.!?](?:\s|$)", caption)) == 1, (name, caption)
        assert "\n" not in caption and len(caption) < 260, name
        assert re.search(r"\byou\b|so |price", caption), f"{name} says what it means for the reader"


def test_the_table_is_read_against_xz(report_of) -> None:
    assert "more order" in say.bits_caption(report_of("hit"))
    assert "less about this text" in say.bits_caption(report_of("miss"))


def test_figures_of_a_report_are_legible(report: ReportData, flaws_of_page) -> None:
    for name, (picture, _) in figures(report).items():
        assert flaws_of_page(picture) == [], name


def test_what_is_missing_leaves_no_hole(report_of) -> None:
    full = report_of("sealed")
    bare = ReportData(full.title, full.created, full.target, full.rungs[:1], full.forecasts[:1])
    text = Page(render(bare)).text
    assert "The same prompt" not in text and "The text" not in text and "None" not in text and "nan" not in text


def test_what_the_guards_saw_stands_in_a_table(report_of) -> None:
    def page(guards: tuple[GuardRow, ...] | None) -> str:
        return render(dataclasses.replace(report_of("sealed"), guards=guards))

    assert "What the guards saw" not in page(None) and "Nothing: no step of" in page(())
    row = '<td>loss spikes, not learned from</td><td class="n">3</td><td class="n">1</td>'
    assert row in page((GuardRow("spike", 3, 1), GuardRow("norm", 12, 0)))


def test_a_report_survives_its_json(report: ReportData, tmp_path: Path) -> None:
    write_report(report, tmp_path / "report.html")
    again = read_report(tmp_path / "report.json")
    assert again == report and render(again) == (tmp_path / "report.html").read_text()
    assert ReportData.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_a_damaged_report_is_named_in_one_line(report_of, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    save_report(report_of("hit"), path)
    value = json.loads(path.read_text())
    value["target"]["compute"] = "much"
    path.write_text(json.dumps(value))
    with pytest.raises(GnomonError, match=r"report\.json: target\.compute") as caught:
        read_report(path)
    assert "\n" not in str(caught.value)
    value["target"]["compute"], value["rungs"] = 1e13, []
    with pytest.raises(GnomonError, match="at least one rung"):
        ReportData.from_dict(value)


def test_no_text_of_the_page_is_below_12_px() -> None:
    from importlib.resources import files

    css = (files("gnomon.report") / "page.css").read_text()
    sizes = [float(s) for s in re.findall(r"font(?:-size)?:[^;]*?(\d+(?:\.\d+)?)px", css)]
    assert sizes and min(sizes) >= 12
