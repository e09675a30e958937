"""Command line: ``python -m alutils study PROFILE``. The Makefile calls it."""

import argparse
import logging
import sys
from importlib import import_module
from typing import Any

from alutils.commands.studies import RUNS, run_module
from alutils.protocol.parameters import ParameterError, StudyError


def main() -> int:
    """Run a command; returns 0, or on failure another status, with a line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m alutils")
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("study", help="run a profile's notebooks and render their reports")
    a_folder = "a folder under params/"
    profile = f"{a_folder}; or {', '.join(RUNS)}"
    study.add_argument("profile", help=a_folder)
    study.add_argument("--notebook", default="", help="only one, such as 03-mnist-active-learning")
    study.add_argument("--workers", default="", help="local processes (default: one per core)")
    study.add_argument("--scheduler", default="", help="a running Dask scheduler, tcp://HOST:8786")
    study.add_argument("--train", default="", help="no: only show what is finished (default: yes)")
    estimate = commands.add_parser("estimate", help="how much work and time a profile takes")
    estimate.add_argument("profile", help=profile)
    estimate.add_argument("--step-ms", default="", help="milliseconds per step (default: timed)")
    verify = commands.add_parser("verify", help="check a profile's records, recompute a few rounds")
    verify.add_argument("profile", help=profile)
    readme = commands.add_parser("readme", help="update README and guides with a profile's results")
    readme.add_argument("profile", help=a_folder)
    predict = commands.add_parser("predict", help="classify new images, as CSV")
    predict.add_argument("head", help="the folder head in an export from 11-label-your-own")
    predict.add_argument("images", nargs="+", help="image files, or folders of them")
    for name, run in RUNS.items():
        commands.add_parser(name, help=run.purpose)
    options = vars(parser.parse_args())
    try:
        _call(options.pop("command"), options)
    except ParameterError as error:
        return _fail(error, 2)
    except StudyError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    return 0


COMMANDS = {
    "estimate": "estimate.estimate",
    "verify": "verify.verify",
    "readme": "readme.update",
    "predict": "predict.predict",
}
"""Each command's module in ``alutils.commands`` and function, imported when it is called."""


def _call(command: str, options: dict[str, Any]) -> None:
    """Run a command with its options."""
    if command in RUNS:
        run_module(command).main()
    elif command == "study":
        _study(**options)
    else:
        module, function = COMMANDS[command].split(".")
        getattr(import_module(f"alutils.commands.{module}"), function)(**options)


def _study(**options: str) -> None:
    from alutils.commands import notebooks

    try:
        notebooks.make_reports(**options)
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # ending the notebook is intended
        progress = notebooks.progress(options["profile"], options["notebook"])
        print(f"stopped: {progress}; run the same command again to continue", file=sys.stderr)
        raise


def _fail(error: Exception, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
