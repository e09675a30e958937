"""Command line: ``python -m alutils study PROFILE``. The Makefile calls it."""

import argparse
import logging
import sys
from functools import partial
from importlib import import_module
from typing import Any

from alutils.protocol.parameters import ParameterError, StudyError


def main() -> int:
    """Run a command; 0 on success, else one line on the standard error."""
    parser = argparse.ArgumentParser(prog="python -m alutils")
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("study", help="run a profile's notebooks and render their reports")
    a_folder = "a folder under params/"
    profile = f"{a_folder}; or {', '.join(RUNS)}"
    study.add_argument("profile", help=a_folder)
    study.add_argument("--notebook", default="", help="one alone, such as 03-mnist-active-learning")
    study.add_argument("--workers", default="", help="local processes (one for each core)")
    study.add_argument("--scheduler", default="", help="a running Dask scheduler, tcp://HOST:8786")
    study.add_argument("--train", default="", help="no: show what is finished (yes)")
    estimate = commands.add_parser("estimate", help="what a profile will take")
    estimate.add_argument("profile", help=profile)
    estimate.add_argument("--step-ms", default="", help="milliseconds a step, instead of timing it")
    verify = commands.add_parser("verify", help="check a profile's records, recompute a few picks")
    verify.add_argument("profile", help=profile)
    readme = commands.add_parser("readme", help="put a profile's results into README and guides")
    readme.add_argument("profile", help=a_folder)
    predict = commands.add_parser("predict", help="classes of new images, as CSV")
    predict.add_argument("head", help="the folder head of an export of 11-label-your-own")
    predict.add_argument("images", nargs="+", help="image files, or folders of them")
    for name, (_, purpose) in RUNS.items():
        commands.add_parser(name, help=purpose)
    options = vars(parser.parse_args())
    try:
        COMMANDS[options.pop("command")](**options)
    except ParameterError as error:
        return _fail(error, 2)
    except StudyError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    return 0


def _study(**options: str) -> None:
    from alutils.commands import notebooks

    try:
        notebooks.make_reports(**options)
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # the notebook's end is meant
        progress = notebooks.progress(options["profile"], options["notebook"])
        print(f"stopped: {progress}; the same command goes on from there", file=sys.stderr)
        raise


def _estimate(**options: str) -> None:
    from alutils.commands import estimate

    estimate.estimate(**options)


def _verify(profile: str) -> None:
    from alutils.commands import verify

    verify.verify(profile)


def _readme(profile: str) -> None:
    from alutils.commands import readme

    readme.update(profile)


def _predict(**options: Any) -> None:
    from alutils.commands import predict

    predict.predict(**options)


def _run(name: str) -> None:
    import_module(f"alutils.studies.{RUNS[name][0]}").main()


RUNS = {
    "ablation": ("claims.ablation", "run the authors' evaluation, switch by switch"),
    "recipe": ("choices.recipe", "choose the recipes again, on held-out data"),
    "precision": ("choices.precision", "hold bf16 against fp32, on held-out data"),
    "head": ("choices.head", "choose the linear head's recipe again, on held-out data"),
    "ceiling": ("training_size.ceiling", "train on every label of the pool"),
    "transfer": ("transfer.plan", "train on labels that another recipe's arms chose"),
}
"""Commands of studies without a notebook: their module in ``alutils.studies``, and their help."""
COMMANDS = {
    "study": _study, "estimate": _estimate, "verify": _verify, "readme": _readme,
    "predict": _predict,
}  # fmt: skip
COMMANDS |= {name: partial(_run, name) for name in RUNS}


def _fail(error: Exception, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
