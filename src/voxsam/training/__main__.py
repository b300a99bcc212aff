"""Commands of training: ``python -m voxsam.training prepare | generate-preview | train | export``."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import logging
import signal
import sys
import time
from pathlib import Path

import torch

from voxsam.allocator import keep_memory
from voxsam.errors import VoxsamError
from voxsam.training.config import Config
from voxsam.training.loop import Trainer

log = logging.getLogger("voxsam.training")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m voxsam.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="pack real training scans for fast reading")
    prepare.add_argument("source", type=Path, help="folder with manifest.json and train/")
    prepare.add_argument("target", type=Path)
    preview = commands.add_parser("generate-preview", help="draw what the generator makes as a PNG")
    preview.add_argument("output", type=Path)
    preview.add_argument("--images", type=int, default=24)
    preview.add_argument("--size", type=int, default=128)
    preview.add_argument("--step", type=int, default=0, help="which batch")
    train = commands.add_parser("train", help="train, or go on with a run")
    train.add_argument("folder", type=Path, help="of the run; resumed if it holds a checkpoint")
    train.add_argument("--minutes", type=float, help="be done after so many minutes")
    train.add_argument("--finish-at", metavar="HH:MM", help="be done at this time of day")
    train.add_argument("--steps", type=int)
    train.add_argument("--threads", type=int, default=1)
    train.add_argument("--start", type=Path, metavar="WEIGHTS", help="begin a new run from weights that ship")
    train.add_argument(
        "--device", default="cpu", help="as torch names it; elsewhere than on the CPU, batches are made there too"
    )
    export = commands.add_parser("export", help="write a run's averaged weights as half-precision safetensors")
    export.add_argument("folder", type=Path)
    export.add_argument("output", type=Path)
    for command in (preview, train):
        command.add_argument("--config", type=Path, help="JSON; names as in voxsam.training.config.Config")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        COMMANDS[options.command](options)
    except VoxsamError as error:
        log.error("%s", error)  # noqa: TRY400  a user's mistake needs no traceback
        return 2
    return 0


def _prepare(options: argparse.Namespace) -> None:
    from voxsam.training.anatomy import prepare

    prepare(options.source, options.target)


def _preview(options: argparse.Namespace) -> None:
    from voxsam.training.batches import BatchMaker
    from voxsam.training.preview import save_preview

    batch = BatchMaker(_config(options)).make(options.step, images=options.images, size=options.size)
    save_preview(batch, options.output)


def _train(options: argparse.Namespace) -> None:
    keep_memory()
    torch.set_num_threads(options.threads)
    config = _config(options)
    if options.steps:
        config = dataclasses.replace(config, steps=options.steps)
    trainer = Trainer(options.folder, config, ends=_deadline(options), device=options.device, start=options.start)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: setattr(trainer, "stopping", True))  # a step is never cut in two
    trainer.run()


def _export(options: argparse.Namespace) -> None:
    from voxsam.training.export import export_run

    export_run(options.folder, options.output)


def _config(options: argparse.Namespace) -> Config:
    stored = getattr(options, "folder", None)
    if options.config is not None:
        return Config.from_json(options.config)
    if stored is not None and (stored / "config.json").exists():
        return Config.from_json(stored / "config.json")
    return Config()


def _deadline(options: argparse.Namespace) -> float | None:
    if options.minutes is not None:
        return time.time() + 60 * float(options.minutes)
    if options.finish_at is None:
        return None
    hour, minute = map(int, options.finish_at.split(":"))
    now = dt.datetime.now().astimezone()
    at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (at if at > now else at + dt.timedelta(days=1)).timestamp()


COMMANDS = {"prepare": _prepare, "generate-preview": _preview, "train": _train, "export": _export}

if __name__ == "__main__":
    sys.exit(main())
