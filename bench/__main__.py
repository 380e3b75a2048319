"""`python -m bench`: measure, print Markdown; `--write` puts it into docs/benchmarks.md."""

import argparse
import os
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

from bench.measure import QUICK, Plan, measure, say
from bench.report import missed, report

_PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_MARK = "<!-- below this line: written by `python -m bench --write` -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one sample of each, hutch only: does it work at all?")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of small guests, and half as many of Debian")
    parser.add_argument("--no-lxd", action="store_true", help="leave LXD out")
    parser.add_argument("--write", action="store_true", help=f"put the results into {_PAGE.name}")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("must be run as root")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = replace(plan, busybox=options.rounds, debian=(options.rounds + 1) // 2, lists=options.rounds)
    if options.no_lxd:
        plan = replace(plan, beside_lxd=False)
    samples, notes = measure(plan)
    text = report(samples, notes, shlex.join(["python", "-m", "bench", *sys.argv[1:]]))
    print(text)
    if options.write:
        head = _PAGE.read_text().partition(_MARK)[0]
        _PAGE.write_text(f"{head}{_MARK}\n{text}")
    for what in missed(samples):
        say(f"missed: {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
