"""The graph: source notebook -> executed notebook and figures -> page of the site; and the sweep of notebook 10.

    make figures                                    the usual way (see the Makefile)
    snakemake --executor slurm --jobs 20            the same graph on a cluster
    snakemake --cores 2 sweep                       the trainings of notebook 10, one job each; resumed, not repeated
    ... --config profile=paper                      with the published settings; quick, reference or paper

Everything it writes lies under build/. Checkpoints and records of the repository are inputs and never outputs, because a
job's outputs are deleted before it runs; in the reference profile no notebook trains. A notebook runs anew when its
source changes, or one of the files that its outputs depend on (pixellib/series/notebook_inputs.py).
"""

import sys
from glob import glob

from pixellib import files
from pixellib.series import notebook_inputs, paths

PROFILE = config.get("profile", "reference")
BUILD = f"build/{PROFILE}"
RUNS = str(paths.WORK).removeprefix(f"{paths.ROOT}/")
SITE = ["pixellib/series/site/render.py", "pixellib/series/site/reference.py"]
SITE += glob("pixellib/series/site/[st]*/**/*.*", recursive=True)
LIBRARY = [path for path in glob("pixellib/**/*.py", recursive=True) if not path.startswith("pixellib/series/")]
NAMES = sorted(glob_wildcards(r"notebooks/{name,\d\d_\w+}.ipynb").name)
LIST = f"{BUILD}/notebooks.txt"  # changes when a notebook comes or goes, and with it the links between pages
files.replace(LIST, "\n".join(NAMES).encode())


wildcard_constraints:
    name=r"\d\d_\w+",


localrules:
    all,
    sweep,
    page,
    front,


rule all:
    input:
        f"{BUILD}/site/index.html",
        expand("{build}/site/{name}.html", build=BUILD, name=NAMES),


rule notebook:
    input:
        source="notebooks/{name}.ipynb",
        depends=lambda wildcards: notebook_inputs.of_source(f"notebooks/{wildcards.name}.ipynb"),
    output:
        executed=f"{BUILD}/notebooks/{{name}}.ipynb",
        figures=directory(f"{BUILD}/figures/{{name}}"),
    log:
        f"{BUILD}/logs/{{name}}.log",
    threads: int(config.get("threads", 1))
    resources:
        mem_mb=4000 if PROFILE != "paper" else 32000,
        runtime=60 if PROFILE != "paper" else 2880,
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable:q} -m pixellib notebook {wildcards.name} --profile {PROFILE}"
        " --output {output.executed:q} -p figures_dir={output.figures:q} 2>&1 | tee {log:q}"


def trained(run, seed=0):
    """The record of a training; its folder holds the checkpoint too, and the state that a killed one goes on from."""
    return f"{RUNS}/{run}/{PROFILE}-seed{seed}/{run}.json"


def sweep_records(wildcards):
    from pixellib.series.permuted import sweep

    return [trained(name, seed) for name, seed in sweep.trainings()]


rule sweep:
    input:
        sweep_records,


def upstream(wildcards):
    """The records of the trainings that this one begins with or takes its data from, unless their weights ship."""
    from pixellib.series import runs

    trainings = runs.get(wildcards.run).upstream(PROFILE, int(wildcards.seed)).values()
    return [trained(run.name, seed) for run, seed in trainings if not run.checkpoint_path(PROFILE, seed)]


rule run:
    input:
        upstream,
    output:
        trained("{run}", "{seed}"),
    log:
        f"{RUNS}/{{run}}/{PROFILE}-seed{{seed}}/log",
    wildcard_constraints:
        run=r"[a-z0-9-]+",
    threads: int(config.get("threads", 1))
    resources:
        mem_mb=4000 if PROFILE != "paper" else 32000,
        runtime=120 if PROFILE != "paper" else 2880,
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable:q} -m pixellib train {wildcards.run} --profile {PROFILE}"
        " --seed {wildcards.seed} 2>&1 | tee {log:q}"


rule page:
    input:
        executed=f"{BUILD}/notebooks/{{name}}.ipynb",
        titles=expand("notebooks/{name}.ipynb", name=NAMES),
        site=SITE,
        names=LIST,
    output:
        f"{BUILD}/site/{{name}}.html",
        f"{BUILD}/site/{{name}}.ipynb",
    log:
        f"{BUILD}/logs/{{name}}.page.log",
    shell:
        "{sys.executable:q} -m pixellib.series.site.render page {BUILD}/site {input.executed:q} 2>&1 | tee {log:q}"


rule front:
    input:
        executed=expand("{build}/notebooks/{name}.ipynb", build=BUILD, name=NAMES),
        texts=["README.md", "notebooks/10_plan.md", "data/README.md", "figures/results/README.md"],
        site=SITE,
        library=LIBRARY,
        names=LIST,
    output:
        f"{BUILD}/site/index.html",
        f"{BUILD}/site/10_plan.html",
        f"{BUILD}/site/data.html",
        f"{BUILD}/site/results.html",
        f"{BUILD}/site/library.html",
        f"{BUILD}/site/playground.html",
        f"{BUILD}/site/playground.js",
        f"{BUILD}/site/search.js",
        f"{BUILD}/site/site.js",
        f"{BUILD}/site/stix-two-math.woff",
        f"{BUILD}/site/style.css",
    shell:
        "{sys.executable:q} -m pixellib.series.site.render front {BUILD}/site {input.executed:q}"
