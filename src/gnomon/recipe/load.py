"""YAML in, Recipe out: overrides as `key=value`, and errors that name the file, the key and the nearest known one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from gnomon.common.errors import GnomonError
from gnomon.recipe.values import Recipe


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 3e13 as text; a recipe means a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with gnomon."""
    folder = resources.files("gnomon") / "recipes"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name (one that ships) or path, with `a.b=value` overrides applied in order.

    Raises GnomonError naming the file, the key, the value and what would be right.
    """
    value, where = _mapping(name_or_path, ())
    for override in overrides:
        _apply(value, override, where)
    return parse_recipe(value, where)


def _mapping(name_or_path: str, seen: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """The recipe as plain values; `extends: NAME` takes every top-level group that it does not give itself."""
    text, where = _read(name_or_path)
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise GnomonError(f"recipe {where}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise GnomonError(f"recipe {where}: a recipe is a mapping with the keys name, corpus, ladder, target")
    parent = value.pop("extends", None)
    if parent is None:
        return value, where
    if not isinstance(parent, str) or parent in seen:
        raise GnomonError(f"recipe {where}: extends {parent!r}; it names another recipe, and no recipe twice")
    return {**_mapping(parent, (*seen, parent))[0], **value}, where


def parse_recipe(value: dict[str, Any], where: str) -> Recipe:
    """A checked Recipe. Raises GnomonError with the first thing that is wrong."""
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise GnomonError(f"recipe {where}: {_explain(error)}") from None


def _read(name_or_path: str) -> tuple[str, str]:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.exists():
        try:
            return path.read_text(), path.name
        except OSError as error:
            raise GnomonError(f"recipe {name_or_path}: {error.strerror or error}") from None
    shipped = shipped_recipes()
    if name_or_path in shipped:
        name = f"{name_or_path}.yaml"
        return (resources.files("gnomon") / "recipes" / name).read_text(), name
    raise GnomonError(f"recipe {name_or_path}: no such file, and the shipped recipes are {', '.join(shipped)}")


def _apply(value: dict[str, Any], override: str, where: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise GnomonError(f"override {override}: write it as key=value, for example family.base.width=64")
    parts, node = key.split("."), value
    for depth, part in enumerate(parts[:-1]):
        child = node.setdefault(part, {})
        if isinstance(child, list):
            index = parts[depth + 1]
            raise GnomonError(f"override {override}: {part} is a list ({index} is no key of it); give the whole list")
        if not isinstance(child, dict):
            raise GnomonError(f"override {override}: {'.'.join(parts[: depth + 1])} is a value, not a group")
        node = child
    try:
        node[parts[-1]] = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise GnomonError(f"override {override}: {text!r} is not a YAML value ({where})") from None


def _explain(error: ValidationError) -> str:
    """The first problem in one line; an unknown key names the nearest known one."""
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = sorted(_known_keys(path[:-1]))
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"unknown key {key}; {hint}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = "" if isinstance(given, dict | list) else f" is {given!r};"
    return f"{key}{shown} {message[0].lower()}{message[1:]}"


def _known_keys(path: list[str]) -> set[str]:
    """Field names of the value that a location in a recipe points into."""
    models: list[type[BaseModel]] = [Recipe]
    for part in path:
        if part.isdigit():
            continue
        following: list[type[BaseModel]] = []
        for model in models:
            field = model.model_fields.get(part)
            if field is not None:
                following.extend(_models_in(field.annotation))
            elif model in following or part == _kind_of(model):
                following.append(model)
        models = following or models
    return {name for model in models for name in model.model_fields}


def _kind_of(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    arguments = getattr(field.annotation, "__args__", ()) if field else ()
    return arguments[0] if arguments else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
