"""Notebook -> executed notebook -> book, and runs without pages. Called by make; nothing here computes.

snakemake --config scale=quick -- book                    the HTML book of a scale
snakemake --config scale=paper page=... shards=8 -- runs    compute the runs of all pages, or of one, in shards
"""

from pathlib import Path

from sgdscope import paths
from sgdscope.errors import SgdscopeError, unknown_name
from sgdscope.pages import SCALES, all_pages, find
from sgdscope.pages.sources import sources
from sgdscope.runs.source import PACKAGE

SCALE = str(config.get("scale") or "quick")
SHARDS = str(config.get("shards") or 1)
PAGES = [page.name for page in all_pages()]
try:
    if SCALE not in SCALES:
        raise unknown_name("scale", SCALE, SCALES)
    if not SHARDS.isdecimal():
        raise SgdscopeError(f"SHARDS must be a number of parts, such as 8; got {SHARDS!r}.")
    CHOSEN = [find(str(config["page"])).name] if config.get("page") else PAGES
except SgdscopeError as error:
    raise WorkflowError(str(error))
SHARDS = int(SHARDS)
COMPUTE = "never" if SCALE == "paper" else "missing"  # a book at paper scale renders what there is


def page_inputs(wildcards):
    """All that an executed page depends on: its source, its parameters, the library below it, rules and verdicts, committed results."""
    notebook = Path("notebooks") / f"{wildcards.page}.py"
    parameters = [] if SCALE == "quick" else [notebook.with_suffix(f".{SCALE}.yaml")]
    verdicts = [] if SCALE == "paper" else ["results/verdicts.json"]  # cards show the paper scale's beside this build's
    rechecks = Path("results").glob("rechecks.json")
    return [notebook, *parameters, *library(wildcards.page), "book/claims.yaml", *verdicts, *rechecks, *runs_in(Path("results"), wildcards.page)]


def library(page=None):
    """Library files below a page or the book; all of them where one cannot be read: executing it says what is wrong, and others go on."""
    try:
        return sources(page)
    except Exception:
        return sorted(PACKAGE.rglob("*.py"))


def runs_in(folder, page):
    """Files of the runs that a page could ask for: those of the experiments below it."""
    experiments = PACKAGE / "experiments"
    modules = [file.relative_to(experiments).with_suffix("").parts for file in library(page) if experiments in file.parents]
    return sorted(file for module in modules for file in folder.glob(f"{'.'.join(module)}.*/*.parquet"))


def stored(wildcards):
    """What the store has for a page that only renders what there is: it is executed again when that changes."""
    if COMPUTE != "never":
        return []
    return [f"{file.parent.name}/{file.name} {file.stat().st_mtime_ns}" for file in runs_in(paths.store() / "runs", wildcards.page)]


wildcard_constraints:
    page=r"[a-z_]+/[0-9]{2}_[a-z0-9_]+",


onerror:
    if "shards" not in config:  # make book
        failed = [page for page in PAGES if not Path(f"build/{SCALE}/notebooks/{page}.ipynb").is_file()]
        for page in failed:
            partial = Path(f"build/{SCALE}/log/{page}.ipynb")
            print(f"Not executed: {page}" + (f" ({partial} holds it up to the cell that failed)" if partial.is_file() else ""), file=sys.stderr)
        print(f"The book was not built: what went wrong is said above. What lies in build/{SCALE}-html is older.", file=sys.stderr)


rule book:
    input:
        expand("build/{scale}/notebooks/{page}.ipynb", scale=SCALE, page=PAGES),
        [path for path in sorted(Path("book").rglob("*")) if path.is_file()],
        Path("results").glob("verdicts.json"),
        library(),
        config="_config.yml",
        toc="_toc.yml",
    output:
        f"build/{SCALE}-html/_build/html/index.html",
    params:
        pages=PAGES,
    shell:
        "echo 'building the book at {SCALE} scale' >&2; "
        "python tools/alone.py build/{SCALE}.lock sgdscope stage --scale {SCALE} && "
        'python tools/alone.py build/{SCALE}.lock jupyter-book build build/{SCALE} --config "$PWD/{input.config}" --toc "$PWD/{input.toc}" '
        '--path-output "$PWD/build/{SCALE}-html" -n -W --keep-going --quiet > /dev/null'


rule execute:
    input:
        page_inputs,
    output:
        f"build/{SCALE}/notebooks/{{page}}.ipynb",
    log:
        f"build/{SCALE}/log/{{page}}.ipynb",
    params:
        stored=stored,
    shell:
        "echo 'executing {wildcards.page} at {SCALE} scale' >&2; "
        "rm -f {log}; SGDSCOPE_COMPUTE={COMPUTE} python tools/alone.py {log}.lock "
        "sgdscope execute {wildcards.page} --scale {SCALE} --output {log} > /dev/null && cp {log} {output}"


rule runs:
    input:
        expand(f"build/{SCALE}/runs/{{page}}.{{shard}}-of-{SHARDS}", page=CHOSEN, shard=range(1, SHARDS + 1)),


rule compute:
    input:
        page_inputs,
    output:
        touch(f"build/{SCALE}/runs/{{page}}.{{shard}}-of-{SHARDS}"),
    log:
        f"build/{SCALE}/log/{{page}}.{{shard}}-of-{SHARDS}.log",
    message:
        f"computing {{wildcards.page}} at {SCALE} scale, shard {{wildcards.shard}}/{SHARDS}"
    shell:
        "sgdscope compute {wildcards.page} --scale {SCALE} --shard {wildcards.shard}/{SHARDS} 2>&1 | tee {log}"
