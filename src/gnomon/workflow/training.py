"""`gnomon train`: a new run, a resumed one, or a branch; three ways in that cannot be mistaken for each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.shards import Corpus
from gnomon.ladder.evaluation import evaluation_set
from gnomon.ladder.jobs import run_folder
from gnomon.ladder.store import RunStore
from gnomon.recipe.flops import train_flops_per_token
from gnomon.recipe.load import load_recipe, shipped_recipes
from gnomon.recipe.plan import Plan
from gnomon.registry import require_entry
from gnomon.train.crew import ALONE, Crew
from gnomon.workflow.display import Display
from gnomon.workflow.quickstart import folder_corpus
from gnomon.workflow.study import Study

if TYPE_CHECKING:
    from gnomon.train.trainer import Mode


@dataclass(frozen=True)
class Wish:
    """What the command line asked for. Exactly one of what, resume and branch is given."""

    what: str = ""
    overrides: tuple[str, ...] = ()
    resume: str = ""
    branch: str = ""
    steps: int = 0
    compute: float | None = None
    width: int | None = None
    unregistered: bool = False
    inexact: bool = False
    track: tuple[str, ...] = ()
    init: str = ""
    beside: int = 0
    device: str = "cpu"
    compile: bool | None = None
    plan: bool = False
    micro_rows: int = 0


def train_one(wish: Wish, home: Path, cores: int, display: Display, crew: Crew = ALONE) -> str:
    """Train one model and return one line that says where it is and how good it became. crew: who trains with us."""
    if sum(map(bool, (wish.what, wish.resume, wish.branch))) != 1:
        raise GnomonError("train: give one of a folder or recipe (a new run), --resume RUN, or --branch RUN@STEP")
    if wish.init and (wish.resume or wish.branch or wish.compute or wish.width or wish.unregistered):
        raise GnomonError("train --init: it goes with a folder or recipe, --steps and --beside; the shape is given")
    if wish.beside and not wish.init:
        raise GnomonError("train --beside: it stands beside --init; --width alone trains a model from scratch")
    from gnomon.train.device import require

    require(wish.device)
    if wish.track:
        from gnomon.train.trackers import check_trackers

        check_trackers(wish.track)
    if wish.resume:
        return _resume(wish, home, crew)
    if wish.branch:
        return _branch(wish, home, crew)
    if wish.init:
        return _continue(wish, home, cores, display, crew)
    return _new(wish, home, cores, display, crew)


def _new(wish: Wish, home: Path, cores: int, display: Display, crew: Crew) -> str:
    folder = Path(wish.what)
    recipe = load_recipe("quickstart" if folder.is_dir() else wish.what, wish.overrides)
    if folder.is_dir():
        recipe = recipe.model_copy(update={"name": "folder", "corpus": folder_corpus(recipe.corpus, folder)})
    elif wish.what not in shipped_recipes() and not folder.exists():
        raise GnomonError(f"train {wish.what}: neither a folder of text nor a recipe")
    if wish.width:
        recipe = recipe.model_copy(update={"target": recipe.target.model_copy(update={"width": wish.width})})
    if wish.compute:
        recipe = recipe.model_copy(update={"target": recipe.target.model_copy(update={"compute": wish.compute})})
    study = Study(recipe, home, cores, track=wish.track)
    corpus = study.build(display.reading)
    if folder.is_dir():
        plan = (wish.compute and study.family.at(wish.compute, recipe.target.width)) or _one_epoch(study, corpus)
        return _train(plan, corpus, home, cores, registry_head="", wish=wish, crew=crew)
    if wish.unregistered:
        plan = study.family.at(recipe.target.compute, recipe.target.width)
        return _train(plan, corpus, home, cores, registry_head="", wish=wish, crew=crew)
    entry = require_entry(study.registry, study.target_hash)
    display.training(study.seeded_target(entry))
    if crew.size > 1:
        plan = study.seeded_target(entry)
        _train(plan, corpus, home, cores, registry_head=entry.hash, wish=wish, crew=crew, sets=study.held_out)
    result = study.run_target(entry, display.target)
    study.close(entry, result)
    return _line(home, result["run_id"], result["evaluations"])


def _one_epoch(study: Study, corpus: Corpus) -> Plan:
    """The recipe's target, or the run that reads the text once if that is less."""
    width, family = study.recipe.target.width, study.family
    once = len(corpus.tokens("train")) * train_flops_per_token(family.shape(width))
    return family.at(min(once, study.recipe.target.compute), width)


def _continue(wish: Wish, home: Path, cores: int, display: Display, crew: Crew) -> str:
    from gnomon.workflow.continuing import Continuation, continue_training

    def train(plan: Plan, corpus: Corpus, subset: int) -> str:
        return _train(plan, corpus, home, cores, registry_head="", wish=wish, crew=crew, subset=subset)

    continuation = Continuation(wish.what, wish.init, wish.overrides, wish.steps, wish.beside)
    return continue_training(continuation, home, display, train)


def _resume(wish: Wish, home: Path, crew: Crew) -> str:
    from gnomon.train.checkpoint import read_plan

    plan = read_plan(RunStore(home).find(wish.resume))
    corpus = _corpus_of(plan, home)
    return _train(plan, corpus, home, None, registry_head="", mode="resume", inexact=wish.inexact, wish=wish, crew=crew)


def _branch(wish: Wish, home: Path, crew: Crew) -> str:
    from gnomon.train.branch import branch_plan, parent_checkpoint, parse
    from gnomon.train.checkpoint import read_plan

    run, step = parse(wish.branch)
    trunk = read_plan(RunStore(home).find(run))
    plan = branch_plan(trunk, step, wish.steps)
    parent_checkpoint(plan, home / "runs")  # raises before the branch has a folder
    return _train(plan, _corpus_of(plan, home), home, 1, registry_head="", wish=wish, crew=crew)


def _corpus_of(plan: Plan, home: Path) -> Corpus:
    """The corpus a plan was made for, by its hash."""
    for folder in sorted((home / "corpora").glob("*/manifest.json")):
        corpus = Corpus.open(folder.parent)
        if corpus.hash == plan.corpus:
            return corpus
    raise GnomonError(
        f"run {plan.run_id}: its corpus {plan.corpus[:16]} is not in {home / 'corpora'}; build it again first"
    )


def _train(
    plan: Plan,
    corpus: Corpus,
    home: Path,
    cores: int | None,
    registry_head: str,
    mode: Mode = "auto",
    inexact: bool = False,
    wish: Wish = Wish(),
    crew: Crew = ALONE,
    sets: tuple[str, ...] = ("documents",),
    subset: int | None = None,
) -> str:
    """Train one plan with its progress shown, and examine it on those of sets that the corpus holds out.

    cores: of each process; None takes the execution that the run has on record. subset: tokens of each set, None: all.
    wish: for its trackers, device and compiling.
    """
    from gnomon.train import schedule
    from gnomon.train.compiled import choose
    from gnomon.train.execution import decide, stored
    from gnomon.train.live import Live
    from gnomon.train.memory import require_room
    from gnomon.train.parallel.world import shared_by
    from gnomon.train.peak import matmul_peak
    from gnomon.train.trackers import Trackers
    from gnomon.train.trainer import train
    from gnomon.workflow.planning import needs_here, plan_lines

    keep = (schedule.decay_start(plan.steps, plan.optimisation),)  # where a branch may leave
    recorded = stored(run_folder(home, plan.run_id))
    device = recorded.device if recorded else wish.device
    execution = decide(plan, cores, keep_steps=keep, by_measurement=True, device=device) if cores else None
    carried = recorded or execution
    peak = matmul_peak(plan.shape, plan.batch_tokens, plan.dtype, carried.threads if carried else 1, device)
    if execution and recorded is None and crew.size == 1:
        execution = choose(plan, execution, wish.compile, peak)
    if execution and wish.micro_rows:
        execution = replace(execution, micro_rows=min(wish.micro_rows, plan.batch_rows))
    held_out = [evaluation_set(corpus, n, plan.shape.context, subset) for n in sets if corpus.has(n)]
    carried = recorded or execution or decide(plan)
    held_out_tokens = sum(s.rows.size for s in held_out)
    if wish.plan:
        return "\n".join(plan_lines(plan, carried, corpus, home, peak, held_out_tokens))
    if crew.size == 1:
        require_room(plan, carried, needs_here(plan, carried, corpus, held_out_tokens), home)
    folder = run_folder(home, plan.run_id)
    asked: dict[str, Any] = {"execution": execution, "registry_head": registry_head, "mode": mode, "inexact": inexact}
    crew.tell({"plan": plan, "corpus": corpus.folder, "run_dir": folder, **asked})
    with Live(plan, crew.size * peak) as live, Trackers(wish.track, plan, home) as trackers:
        result = train(
            plan,
            corpus,
            folder,
            evaluate=held_out,
            callbacks=[live, trackers],
            **asked,
            **shared_by(crew),
        )
        result = trackers.finish(result, folder)
    return _line(home, plan.run_id, result.to_dict()["evaluations"])


def _line(home: Path, run_id: str, evaluations: dict[str, dict[str, float]]) -> str:
    losses = ", ".join(f"{name} {e['bits_per_byte']:.4f}" for name, e in evaluations.items())
    return f"run {run_id}  bits per byte: {losses or 'none (diverged)'}  {run_folder(home, run_id)}"
