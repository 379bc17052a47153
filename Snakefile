"""Notebook -> executed notebook -> book, and runs without pages. Called by make; nothing here computes.

snakemake --config scale=quick book             the HTML book of a scale
snakemake --config scale=paper page=... runs    compute the runs of all pages, or of one, in shards
"""

from pathlib import Path

from sgdscope.errors import SgdscopeError
from sgdscope.pages import SCALES, all_pages, find
from sgdscope.pages.sources import sources

SCALE = config.get("scale", "quick")
SHARDS = int(config.get("shards") or 1)
if SCALE not in SCALES:
    raise WorkflowError(f"unknown scale {SCALE!r}. Valid: {', '.join(SCALES)}.")
PAGES = [page.name for page in all_pages()]
try:
    CHOSEN = [find(config["page"]).name] if config.get("page") else PAGES
except SgdscopeError as error:
    raise WorkflowError(str(error))
COMPUTE = "never" if SCALE == "paper" else "missing"  # a book at paper scale renders what there is


def page_inputs(wildcards):
    """All that an executed page depends on: its source, its parameters, the library below it, the rules, committed results."""
    notebook = Path("notebooks") / f"{wildcards.page}.py"
    parameters = [] if SCALE == "quick" else [notebook.with_suffix(f".{SCALE}.yaml")]
    results = sorted(Path("results").glob("*/*.parquet"))
    return [notebook, *parameters, *sources(wildcards.page), "book/claims.yaml", *results]


wildcard_constraints:
    page=r"[a-z_]+/[0-9]{2}_[a-z0-9_]+",


rule book:
    input:
        expand("build/{scale}/notebooks/{page}.ipynb", scale=SCALE, page=PAGES),
        [path for path in sorted(Path("book").rglob("*")) if path.is_file()],
        Path("results").glob("verdicts.json"),
        sources(),
        config="_config.yml",
        toc="_toc.yml",
    output:
        f"build/{SCALE}-html/_build/html/index.html",
    shell:
        "sgdscope stage --scale {SCALE} && "
        "jupyter-book build build/{SCALE} --config $PWD/{input.config} --toc $PWD/{input.toc} "
        "--path-output $PWD/build/{SCALE}-html -n -W --keep-going --quiet"


rule execute:
    input:
        page_inputs,
    output:
        f"build/{SCALE}/notebooks/{{page}}.ipynb",
    log:
        f"build/{SCALE}/log/{{page}}.ipynb",
    message:
        f"executing {{wildcards.page}} at {SCALE} scale"
    shell:
        "SGDSCOPE_COMPUTE={COMPUTE} sgdscope execute {wildcards.page} --scale {SCALE} --output {log} && cp {log} {output}"


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
    resources:
        mem_mb=int(config.get("mem_mb") or 4000),
        runtime=int(config.get("minutes") or 240),
    message:
        f"computing {{wildcards.page}} at {SCALE} scale, shard {{wildcards.shard}}/{SHARDS}"
    shell:
        "sgdscope compute {wildcards.page} --scale {SCALE} --shard {wildcards.shard}/{SHARDS} 2>&1 | tee {log}"
