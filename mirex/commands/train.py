"""`mirex train`: from a corpus to a checkpoint, resumable."""

import argparse
import dataclasses
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

IMPRINT_WORKS = 128  # a batch


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train the network",
        description="Train on any of three sources: scores, chroma, recordings. The run's folder gets "
        "checkpoint.safetensors, log.jsonl and curve.png; the same command goes on where it stopped. "
        "Exit status: 0 complete, 1 failed, 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, help="of the run; made if missing")
    parser.add_argument("--scores", type=Path, help="scores.npz; needs --patches")
    parser.add_argument("--patches", type=Path, nargs="+", default=[], help="files of 'mirex patches'")
    parser.add_argument("--chroma", type=Path, help="hpcp.npz")
    parser.add_argument("--recordings", type=Path, help="a CSV with the header work,path")
    parser.add_argument("--anthems", type=Path, help="anthems.npz, for validation only")
    parser.add_argument(
        "--works", type=int, nargs="+", default=[12, 9], help="works a batch, one number a source (12 9)"
    )
    parser.add_argument("--versions", type=int, default=3, help="versions of each work in a batch (3)")
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[64, 96], help="crop lengths, steps of 0.93 s (64 96)"
    )
    parser.add_argument(
        "--chroma-lengths",
        type=int,
        nargs="+",
        default=[80, 128, 192],
        help="of the folded view (80 128 192)",
    )
    parser.add_argument(
        "--short-share",
        type=float,
        default=0.0,
        help="of crops that repeat an excerpt of 19 to 52 s (0)",
    )
    parser.add_argument(
        "--multiple",
        type=int,
        default=1,
        help="crops of each view in a batch are a multiple of this; a GPU likes 32 (1)",
    )
    parser.add_argument(
        "--echoes",
        type=int,
        default=0,
        help="how often each batch is learned from again, in other keys, where making batches is what takes "
        "longest (0)",
    )
    parser.add_argument("--steps", type=int, default=2800, help="training steps in all (2800)")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="stop then, with a checkpoint to go on from (never)"
    )
    parser.add_argument("--decay-steps", type=int, default=700, help="last steps, of falling rate (700)")
    parser.add_argument("--warmup-steps", type=int, default=100, help="first steps, of rising rate (100)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="the constant one (2e-3)")
    parser.add_argument("--curriculum-steps", type=int, default=800, help="to full augmentation (800)")
    parser.add_argument("--start-strength", type=float, default=0.25, help="of augmentation at first (0.25)")
    parser.add_argument("--strength", type=float, default=0.5, help="of augmentation in the end (0.5)")
    parser.add_argument("--stitching", type=float, default=0.3, help="share of stitched samples (0.3)")
    parser.add_argument(
        "--fold-share",
        type=float,
        default=0.25,
        help="of crops of scores, recordings and voiced chroma in the folded view (0.25)",
    )
    parser.add_argument(
        "--backwards-weight",
        type=float,
        default=0.0,
        help="how often works of chroma are played backwards, as works of their own (0: never)",
    )
    parser.add_argument(
        "--mirrored-weight",
        type=float,
        default=0.0,
        help="how often they are played with intervals mirrored, likewise (0: never)",
    )
    parser.add_argument(
        "--voiced-share",
        type=float,
        default=0.0,
        help="of crops of chroma that instruments play, in both views; needs --patches (0)",
    )
    parser.add_argument("--validate-every", type=int, default=200, help="steps (200); 0: never")
    parser.add_argument("--checkpoint-every", type=int, default=100, help="steps (100)")
    parser.add_argument(
        "--start-from", type=Path, metavar="WEIGHTS", help="sealed weights to begin a new run with"
    )
    parser.add_argument(
        "--embedding-size",
        type=int,
        choices=(256, 512, 1024, 2048),
        default=2048,
        help="2048; less is a narrower network, for experiments",
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="of the draws (the checkpoint's; after --start-from one that no earlier run used; else 1)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of the network on the CPU (1)")
    parser.add_argument("--processes", type=int, default=0, help="rendering processes (0: in the main one)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build the recipe, resume if there is a checkpoint, train."""
    from functools import partial

    import torch

    from mirex.extraction.extract import resolve_device
    from mirex.training.batches import stream
    from mirex.training.echoes import echoed, needed, uses
    from mirex.training.loop import Trainer, train
    from mirex.training.plot import plot_log
    from mirex.training.recipe import SUMMARY, make_batches, validation_sets

    deadline = time.monotonic() + 60 * args.minutes
    torch.set_num_threads(args.threads)
    device, checkpoint = resolve_device(args.device), args.folder / "checkpoint.safetensors"
    corpus, recipe = corpus_of(args), recipe_of(args, seed=_seed(args, checkpoint))
    _say(f"draws of seed {recipe.loop.seed}")
    maker = make_batches(corpus, recipe=recipe)
    size = recipe.network.embedding_size
    trainer = Trainer(maker.works, settings=recipe.loop, embedding_size=size, device=device)
    args.folder.mkdir(parents=True, exist_ok=True)
    origin = _begin(trainer, recipe, checkpoint=checkpoint, start=args.start_from)
    new = trainer.step == 0 and origin["started_from"] is not None
    portions = maker.portions(works=IMPRINT_WORKS) if new else []
    steps = list(enumerate(uses(recipe.loop.steps, echoes=recipe.batch.echoes)))[trainer.step :]
    batches = stream(
        partial(make_batches, corpus, recipe=recipe) if args.processes else lambda: maker,
        wanted=[*portions, *needed(steps)],
        processes=args.processes,
        pinned=device == "cuda",
    )
    if portions:
        _say(f"imprinting {maker.works} works")
        trainer.imprint(itertools.islice(batches, len(portions)))
    train(
        trainer,
        batches=echoed(batches, steps=steps, seed=recipe.loop.seed),
        validation=validation_sets(corpus, recipe=recipe) if recipe.loop.validate_every else {},
        folder=args.folder,
        metadata={
            "recipe": dataclasses.asdict(recipe),
            "data": [SUMMARY[name] for name in corpus.sources],
            "works": maker.works,
            **origin,
        },
        report=_say,
        deadline=deadline,
    )
    plot_log(args.folder / "log.jsonl", path=args.folder / "curve.png")
    _say(f"trained to step {trainer.step}; seal it with: mirex seal {checkpoint} weights.safetensors")
    return 0


def _begin(trainer: Any, recipe: Any, *, checkpoint: Path, start: Path | None) -> dict[str, Any]:
    """Go on from the checkpoint, or begin with the weights of `start` if any; what the metadata say of it."""
    from mirex.training.recipe import changed_recipes

    if checkpoint.exists():
        earlier = trainer.load(checkpoint)
        _say(f"going on from step {trainer.step}")
        history = changed_recipes(earlier, recipe=dataclasses.asdict(recipe))
        return {"history": history, "started_from": earlier.get("started_from")}
    return {"history": [], "started_from": trainer.start_from(start) if start else None}


def _say(line: str) -> None:
    print(line, flush=True)


def corpus_of(args: argparse.Namespace) -> Any:
    """Where the data lies: `mirex.training.recipe.Corpus`."""
    from mirex.training.recipe import Corpus

    return Corpus(
        scores=args.scores,
        chroma=args.chroma,
        recordings=args.recordings,
        anthems=args.anthems,
        patches=tuple(args.patches),
        scratch=args.folder / "scratch",
        decoders=max(args.processes, 1),
    )


def _seed(args: argparse.Namespace, checkpoint: Path) -> int:
    """The seed asked for, the checkpoint's, or one not used before."""
    from mirex.model import weights
    from mirex.training.checkpoint import read_metadata
    from mirex.training.recipe import unused_seed

    if args.seed is not None:
        return int(args.seed)
    if checkpoint.exists():
        return int(read_metadata(checkpoint)["recipe"]["loop"]["seed"])
    if args.start_from:
        return unused_seed(json.loads(weights.read_metadata(args.start_from)["training"]))
    return 1


def recipe_of(args: argparse.Namespace, *, seed: int) -> Any:
    """What decides the run: `mirex.training.recipe.Recipe`."""
    from mirex.settings import NetworkSettings
    from mirex.training.augmentation.stitching import StitchSettings
    from mirex.training.batches import BatchSettings
    from mirex.training.loop import LoopSettings
    from mirex.training.recipe import Recipe

    return Recipe(
        network=NetworkSettings(embedding_size=args.embedding_size),
        batch=BatchSettings(
            works=tuple(args.works),
            versions=args.versions,
            lengths=tuple(args.lengths),
            chroma_lengths=tuple(args.chroma_lengths),
            short_share=args.short_share,
            multiple=args.multiple,
            echoes=args.echoes,
            curriculum_steps=args.curriculum_steps,
            start_strength=args.start_strength,
            end_strength=args.strength,
        ),
        stitching=StitchSettings(probability=args.stitching),
        fold_share=args.fold_share,
        backwards_weight=args.backwards_weight,
        mirrored_weight=args.mirrored_weight,
        voiced_share=args.voiced_share,
        loop=LoopSettings(
            steps=args.steps,
            decay_steps=args.decay_steps,
            warmup_steps=args.warmup_steps,
            learning_rate=args.learning_rate,
            validate_every=args.validate_every,
            checkpoint_every=args.checkpoint_every,
            seed=seed,
        ),
    )
