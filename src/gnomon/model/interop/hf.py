"""Folders of Hugging Face's transformers: LlamaForCausalLM, Qwen3ForCausalLM and GPT2LMHeadModel, read and written.

Only config.json, safetensors and tokenizer.json are read: a pickle runs code when it is opened, so none is.
What a configuration asks for and this transformer does not do is refused by its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.model.interop.imported import Imported
from gnomon.model.interop.weights import HUGGING_FACE, take
from gnomon.recipe.plan import ModelShape

if TYPE_CHECKING:
    from gnomon.model.classic import Classic
    from gnomon.model.transformer import Transformer

SINGLE, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
KINDS = ("llama", "qwen3", "gpt2")
IGNORED = "rotary_emb.inv_freq"  # tables that old files carry
# Switches of a configuration, and what they must be for this transformer to be the same model.
MUST_BE: tuple[tuple[str, Any, str], ...] = (
    ("attention_bias", False, "biases in attention"),
    ("mlp_bias", False, "biases in the MLP"),
    ("use_sliding_window", False, "a sliding window"),
    ("partial_rotary_factor", 1.0, "heads that are turned in part"),
    ("hidden_act", "silu", "another activation than silu"),
)


def read_folder(folder: Path) -> Imported:
    """A model with its tokenizer from a folder. Raises GnomonError, one line, when it will not do."""
    model = read_model(folder)
    tokenizer = Tokenizer.open(folder / "tokenizer.json")
    if tokenizer.vocab > model.shape.vocab:
        raise GnomonError(
            f"{folder}: its tokenizer has {tokenizer.vocab} tokens and its embedding table {model.shape.vocab} rows; "
            "a table has a row for every token"
        )
    settings = _json(folder / "tokenizer_config.json", {})
    return Imported(
        source=str(folder),
        model=model,
        tokenizer=tokenizer,
        chat_template=_template(folder, settings),
        bos=_mark(settings.get("bos_token")),
        eos=_mark(settings.get("eos_token")),
        end_ids=_end_ids(folder, settings, tokenizer),
    )


def read_model(folder: Path) -> Transformer | Classic:
    """The weights alone, in fp32."""
    if not (folder / "config.json").is_file():
        raise GnomonError(f"{folder}: no config.json; a model's folder holds config.json, {SINGLE} and tokenizer.json")
    config = _json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise GnomonError(f"{folder}: model_type is {kind!r}; gnomon reads {', '.join(KINDS)}")
    shapes, read = open_weights(folder)
    if kind == "gpt2":
        from gnomon.model.classic import from_gpt2

        return from_gpt2(config, shapes, read, str(folder))
    shape = shape_of(config, str(folder))
    if shape.tied and "lm_head.weight" in shapes:
        if not read("lm_head.weight").equal(read("model.embed_tokens.weight")):
            raise GnomonError(
                f"{folder}: tie_word_embeddings is true and lm_head.weight differs from the table; "
                "one of the two is wrong"
            )
        del shapes["lm_head.weight"]
    return take(shape, HUGGING_FACE, shapes, read, str(folder))


def shape_of(config: dict[str, Any], where: str) -> ModelShape:
    """The shape that a llama or qwen3 configuration describes. Raises GnomonError naming what has no place here."""
    for name, right, words in MUST_BE:
        if config.get(name, right) not in (right, None):
            raise GnomonError(f"{where}: {name} is {config[name]!r}; gnomon's transformer has no {words}")
    if any(kind != "full_attention" for kind in config.get("layer_types") or ()):
        raise GnomonError(f"{where}: layer_types holds other kinds than full_attention; gnomon's blocks see everything")
    ropes = [config.get(name) or {} for name in ("rope_scaling", "rope_parameters")]  # the name of old files, of new
    for rope in ropes:
        scaling = rope.get("rope_type", rope.get("type", "default"))
        if scaling != "default":
            raise GnomonError(f"{where}: rope_scaling is {scaling!r}; gnomon reads models without rope scaling")
    base = next((rope["rope_theta"] for rope in ropes if "rope_theta" in rope), config.get("rope_theta", 10_000.0))
    try:
        width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        head_dim = int(config.get("head_dim") or width // heads)
        kv_heads = int(config.get("num_key_value_heads") or heads)
        return ModelShape(
            vocab=int(config["vocab_size"]),
            context=int(config["max_position_embeddings"]),
            width=width,
            depth=int(config["num_hidden_layers"]),
            head_dim=head_dim,
            query_heads=0 if heads * head_dim == width else heads,
            kv_heads=0 if kv_heads == heads else kv_heads,
            exact_mlp=int(config["intermediate_size"]),
            qk_norm=config["model_type"] == "qwen3",
            rope_base=float(base),
            norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            embedding_norm=False,
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise GnomonError(f"{where}: config.json has no {error.args[0]}") from None
    except (TypeError, ValueError, ZeroDivisionError, GnomonError) as error:
        raise GnomonError(f"{where}: config.json is of no use: {error}") from None


def open_weights(folder: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]:
    """(shape of every weight, what reads one) of a folder's safetensors, in one file or many.

    Raises GnomonError when there are none, one is damaged, or there is only a pickle.
    """
    import safetensors

    files = _files(folder)
    places: dict[str, Any] = {}
    for file in files:
        try:
            opened = safetensors.safe_open(file, framework="pt")
            places.update(dict.fromkeys(opened.keys(), opened))
        except (safetensors.SafetensorError, OSError) as error:
            raise GnomonError(f"{file}: not readable as safetensors ({error}); it was cut off or damaged") from None
    places = {name: opened for name, opened in places.items() if not name.endswith(IGNORED)}
    shapes = {name: tuple(opened.get_slice(name).get_shape()) for name, opened in places.items()}

    def read(name: str) -> Tensor:
        tensor: Tensor = places[name].get_tensor(name)
        return tensor

    return shapes, read


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        named = _json(folder / INDEX).get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(n, str) and Path(n).name == n for n in named.values()):
            raise GnomonError(f"{folder / INDEX}: weight_map does not name files of this folder")
        files = [folder / name for name in sorted(set(named.values()))]
        missing = [f for f in files if not f.is_file()]
        if missing:
            raise GnomonError(f"{missing[0]}: no such file, and {INDEX} names it; the download is not whole")
        return files
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if any(folder.glob("pytorch_model*.bin")):
        raise GnomonError(
            f"{folder / PICKLE}: a pickle runs code when it is opened, and gnomon opens none; convert it where you "
            "trust it: transformers' AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW) writes safetensors"
        )
    raise GnomonError(f"{folder}: no {SINGLE}; a model's folder holds config.json, {SINGLE} and tokenizer.json")


def _json(path: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    if default is not None and not path.is_file():
        return default
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise GnomonError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise GnomonError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise GnomonError(f"{path}: an object is expected, not {type(value).__name__}")
    return value


def _mark(value: Any) -> str:
    """The text of a mark, which a configuration gives bare or with its flags."""
    return str(value.get("content", "")) if isinstance(value, dict) else str(value or "")


def _template(folder: Path, settings: dict[str, Any]) -> str:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text()
    found = settings.get("chat_template") or ""
    if isinstance(found, list):  # several by name
        found = next((t.get("template", "") for t in found if t.get("name") == "default"), "")
    return str(found)


def _end_ids(folder: Path, settings: dict[str, Any], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens after which the model says no more: its generation's, its tokenizer's, and the end of a document."""
    ends = {tokenizer.end_id}
    for name in ("generation_config.json", "config.json"):
        given = _json(folder / name, {}).get("eos_token_id")
        ends |= {int(i) for i in (given if isinstance(given, list) else [given]) if isinstance(i, int)}
    eos = tokenizer.marks.get(_mark(settings.get("eos_token")))
    return tuple(sorted(i for i in {*ends, *([eos] if eos is not None else [])} if i >= 0))
