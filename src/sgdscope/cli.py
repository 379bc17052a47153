"""The ``sgdscope`` command: find pages, re-execute them with other parameters, compute their runs, look at verdicts and data.

Everything heavy is imported where it is used, so that a wrong name is refused at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sgdscope import __version__, paths
from sgdscope.errors import InvalidInput, SgdscopeError, unknown_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except SgdscopeError as error:
        print(f"sgdscope: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("sgdscope: interrupted; finished runs are stored, the same call goes on from there.", file=sys.stderr)
        return 130
    return 0


def list_pages(options: argparse.Namespace) -> None:
    """List all pages with their titles."""
    from sgdscope.pages import all_pages

    pages = all_pages()
    width = max((len(page.name) for page in pages), default=0)
    for page in pages:
        print(f"{page.name:{width}}  {page.title} ({len(page.claims)} claims)")


def show(options: argparse.Namespace) -> None:
    """Show one page: title, parameters, claims and their rules."""
    from sgdscope.claims.ledger import claim_of
    from sgdscope.pages import find, parameters

    page = find(options.page)
    print(f"{page.name}: {page.title}\n\nParameters\n{parameters.listing(page.parameters)}\n\nClaims")
    for claim_id in page.claims:
        claim = claim_of(claim_id)
        print(f"  {claim.id} ({claim.where})\n      {claim.says}")
        for part in claim.rule:
            print(f"      rule, {part.kind} ({part.bound}): {part.measures}")


def execute(options: argparse.Namespace) -> None:
    """Execute a page, with other parameters if any are given."""
    from sgdscope.pages import find

    page = find(options.page)
    overrides = _overrides(options)
    values = page.values(options.scale, overrides)
    page.experiment().configurations(**values)  # values of the right type that no run takes are refused here, before a kernel starts
    folder = paths.repository() / "build" / ("custom" if overrides else options.scale) / "notebooks"
    output = Path(options.output) if options.output else folder / f"{page.name}.ipynb"
    from sgdscope.pages.execute import execute as run_page

    print(run_page(page, options.scale, values, output, label="custom" if overrides else None))


def plan(options: argparse.Namespace) -> None:
    """Say which runs of a page are present, and what the rest will cost."""
    from sgdscope.runs.plan import plan as planned

    configs, _ = _configurations(options)
    rows = planned(configs)
    width = max((len(row.function) for row in rows), default=3)
    print(f"{'run':{width}} {'present':>9} {'missing takes':>15} {'memory':>10}  estimate from")
    for row in rows:
        seconds = "unknown" if row.seconds is None else f"{row.seconds:.1f} s"
        memory = "unknown" if row.peak_mib is None else f"{row.peak_mib:.0f} MiB"
        if row.present == row.expected:
            seconds = memory = "–"
        print(f"{row.function:{width}} {f'{row.present}/{row.expected}':>9} {seconds:>15} {memory:>10}  {row.basis}")
    known = sum(row.seconds or 0.0 for row in rows)
    total = f"{known:.1f} s"
    if any(row.seconds is None for row in rows):
        total = f"at least {total}" if known else "unknown"
    print(f"{'all':{width}} {f'{sum(row.present for row in rows)}/{sum(row.expected for row in rows)}':>9} {total:>15}")


def compute(options: argparse.Namespace) -> None:
    """Compute the missing runs of a page, or a shard of them."""
    from sgdscope.runs import collect, groups, run_of

    configs, name = _configurations(options)
    index, count = _shard(options.shard)
    mine = [i for group in groups(configs)[index - 1 :: count] for i in group]
    by_run: dict[str, list[Any]] = {}
    for i in mine:
        by_run.setdefault(run_of(configs[i]).name, []).append(configs[i])
    for members in by_run.values():
        collect(members)
    print(f"{name}: {len(mine)} of {len(configs)} runs are in the store (shard {index}/{count}).")


def scorecard(options: argparse.Namespace) -> None:
    """Print the scorecard of a build, or of the committed verdicts."""
    from sgdscope.claims import scorecard as cards
    from sgdscope.pages import SCALES

    if options.scale == "committed":
        verdicts = cards.committed_verdicts()
    elif options.scale not in (scales := ("committed", *SCALES, "custom")):
        raise unknown_name("scale", options.scale, scales)
    else:
        verdicts = cards.verdicts_in(paths.repository() / "build" / options.scale / "notebooks")
    print(cards.summary_markdown(verdicts))
    for record in verdicts.values():
        print(f"{record['id']:24} {record['verdict']:16} {record['reason']:24} {record['page']}")


def data(options: argparse.Namespace) -> None:
    """List the data sets and where each would be found."""
    from sgdscope.data import describe

    for entry in describe():
        held = ", ".join(f"{split} {count:,}" for split, count in entry.examples.items() if count is not None)
        subset = f" of {entry.published['train']:,} and {entry.published['test']:,}" if entry.complete is False else ""
        place = "not here; hub" if entry.place == "hub" else entry.place
        print(f"{entry.name:20} {place:14} {held}{subset}".rstrip())
        for fact in (entry.source, f"licence: {entry.licence}", entry.note):
            if fact and fact != entry.place:
                print(f"{'':20} {fact}")


def results(options: argparse.Namespace) -> None:
    """Committed results: list them, add a page's runs, check those of older source again, or record the verdicts of paper-scale pages."""
    from sgdscope.runs import promote

    if options.action == "list":
        for file, about in promote.committed():
            print(f"{file.relative_to(paths.repository())}  {about['provenance']['commit']}  {about['provenance']['seconds']:.1f} s")
    elif options.action == "add":
        if not options.page:
            raise InvalidInput("results add needs a page, such as: sgdscope results add break_even/01_model --scale paper.")
        configs, _ = _configurations(options)
        for file in promote.add(configs):
            print(file.relative_to(paths.repository()))
    elif options.action == "recheck":
        _recheck(options)
    else:
        from sgdscope.claims import scorecard as cards
        from sgdscope.pages.readme import update

        print(cards.write_committed(cards.verdicts_in(paths.repository() / "build" / "paper" / "notebooks")))
        print(update())


def _recheck(options: argparse.Namespace) -> None:
    """Compute a sample of the committed runs of older source again, of one page or of all, and write down how many agree."""
    from sgdscope.pages import all_pages, find
    from sgdscope.runs.recheck import recheck
    from sgdscope.runs.rechecked import record

    pages = [find(options.page)] if options.page else all_pages()
    configs = dict.fromkeys(config for page in pages for config in page.experiment().configurations(**page.values(options.scale)))
    found = None
    for found in recheck(list(configs), seconds=options.seconds):
        record([found])
        print(f"{found.function}, source {found.old}: {found.runs} runs, {found}")
    if found is None:
        print("No committed run is of an older source.")


def stage(options: argparse.Namespace) -> None:
    """Put a scale's book together for Jupyter Book (called by the Snakefile)."""
    from sgdscope.pages.stage import stage as put_together

    put_together(options.scale, paths.repository() / "build" / options.scale)


def _configurations(options: argparse.Namespace) -> tuple[list[Any], str]:
    """All run configurations of a page at a scale, with overrides."""
    from sgdscope.pages import find

    page = find(options.page)
    values = page.values(options.scale, _overrides(options))
    return page.experiment().configurations(**values), page.name


def _overrides(options: argparse.Namespace) -> dict[str, str]:
    """Parameters given on the command line, by name.

    Raises:
        InvalidInput: one is given twice.
    """
    names = [name for name, _ in options.parameter]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"{', '.join(twice)} is given twice; a list is one value, such as -p seeds '[0, 1]'.")
    return dict(options.parameter)


def _shard(text: str) -> tuple[int, int]:
    """``i/n`` as two numbers."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise InvalidInput(f"a shard is i/n with 1 <= i <= n, such as 2/8; got {text!r}.")
    return int(index), int(count)


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="sgdscope", description="A microscope for stochastic gradients: pages, runs, verdicts.")
    parser.add_argument("--version", action="version", version=f"sgdscope {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, *, page: bool = False, values: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=function.__doc__.splitlines()[0], description=function.__doc__)
        sub.set_defaults(command=function, parameter=[])
        if page:
            sub.add_argument("page", help="such as break_even/01_model")
        if values:
            sub.add_argument(
                "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="YAML value, repeatable"
            )
            sub.add_argument("--scale", default="quick", help="smoke, quick (default) or paper")
        return sub

    command("list", list_pages)
    command("show", show, page=True)
    command("execute", execute, page=True, values=True).add_argument("-o", "--output", help="executed notebook (default: below build/)")
    command("plan", plan, page=True, values=True)
    command("compute", compute, page=True, values=True).add_argument("--shard", default="1/1", help="i/n: the i-th of n parts")
    command("scorecard", scorecard).add_argument("--scale", default="committed", help="committed (default), smoke, quick, paper or custom")
    command("data", data)
    sub = command("results", results)
    sub.add_argument("action", choices=("list", "add", "recheck", "verdicts"))
    sub.add_argument("page", nargs="?", help="for add, and for recheck unless all are meant")
    sub.add_argument("--scale", default="paper")
    sub.add_argument("--seconds", type=float, default=60.0, help="recheck: CPU time a function that the sample took when it was committed")
    command("stage", stage).add_argument("--scale", default="quick")
    return parser


if __name__ == "__main__":
    sys.exit(main())
