"""A model's chat template (Jinja) rendered as transformers renders it, and tokenised so that content stays data.

The template came with somebody's weights: it runs in jinja2's immutable sandbox and sees plain strings. A mark such as
`<|im_end|>` counts as one where the template writes it; where it stands in what somebody said, it is letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from gnomon.common.errors import GnomonError

if TYPE_CHECKING:
    from gnomon.corpus.tokenizer import Tokenizer

Message = Mapping[str, str]  # role: system, user or assistant; content
STAND_IN = 0xF0000  # private use: no text has meaning there, so a mark in a message waits under such a letter


class Generation(jinja2.ext.Extension):
    """`{% generation %} … {% endgeneration %}`, with which templates mark what a model wrote: passed through."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 reads it from the class)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """source: the template. bos, eos: texts of the marks it may ask for as bos_token and eos_token."""

    def __init__(self, source: str, bos: str = "", eos: str = "") -> None:
        """Raises GnomonError when it is not Jinja."""
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_refuse, strftime_now=lambda form: datetime.now().strftime(form))
        self.source, self.bos, self.eos = source, bos, eos
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise GnomonError(f"chat template: {error}; it is no Jinja template") from None

    def render(self, messages: Sequence[Message], answer: bool = True) -> str:
        """The conversation as one text. answer: end with the beginning of the assistant's next message.

        Raises GnomonError when the template refuses the conversation, with its own words.
        """
        said = [{"role": str(m["role"]), "content": str(m["content"])} for m in messages]
        try:
            return self._template.render(
                messages=said, add_generation_prompt=answer, bos_token=self.bos, eos_token=self.eos, tools=None,
                documents=None,
            )  # fmt: skip
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            raise GnomonError(f"chat template: it cannot render this conversation: {error}") from None

    def tokens(self, messages: Sequence[Message], tokenizer: Tokenizer, answer: bool = True) -> tuple[int, ...]:
        """The conversation as token ids: marks of the template as marks, everything said as letters."""
        marks = sorted(tokenizer.marks, key=len, reverse=True)
        said = "".join(m["content"] for m in messages)
        unsaid = (chr(i) for i in range(STAND_IN, 0x110000) if chr(i) not in said)
        hidden = dict(zip(marks, unsaid, strict=False))
        shown = {letter: mark for mark, letter in hidden.items()}
        text = self.render([{**m, "content": _replaced(m["content"], hidden)} for m in messages], answer)
        ids: list[int] = []
        for piece in re.split("|".join(f"({re.escape(mark)})" for mark in marks), text) if marks else [text]:
            if piece in tokenizer.marks:
                ids.append(tokenizer.marks[piece])
            elif piece:
                ids += tokenizer.encode(_replaced(piece, shown))
        return tuple(ids)


def _replaced(text: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        text = text.replace(old, new)
    return text


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)
