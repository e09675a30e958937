"""Command line: ``python -m alutils study PROFILE``. The Makefile calls it."""

import argparse
import sys

from alutils.parameters import ParameterError, StudyError


def main() -> int:
    """Run a command; 0 on success, else one line on the standard error."""
    parser = argparse.ArgumentParser(prog="python -m alutils")
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("study", help="run a profile's notebooks and render their reports")
    study.add_argument("profile")
    study.add_argument("--notebook", default="")
    study.add_argument("--workers", default="")
    study.add_argument("--scheduler", default="")
    readme = commands.add_parser("readme", help="put a profile's results into the README")
    readme.add_argument("profile")
    options = vars(parser.parse_args())

    from alutils import runner

    run = {"study": runner.study, "readme": runner.readme}[options.pop("command")]
    try:
        run(**options)
    except ParameterError as error:
        return _fail(error, 2)
    except StudyError as error:
        return _fail(error, 1)
    return 0


def _fail(error: Exception, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
