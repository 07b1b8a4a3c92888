"""The graph: source notebook -> executed notebook and figures -> page of the site; and the sweep of notebook 10.

    make figures                                    the usual way (see the Makefile)
    snakemake --executor slurm --jobs 20            the same graph on a cluster
    snakemake --cores 2 sweep                       the trainings of notebook 10, one job each; resumed, not repeated

Everything it writes lies under build/PROFILE/. Checkpoints, records and figures of the repository are inputs and
never outputs, because a job's outputs are deleted before it runs; in the reference profile no job trains.
"""

import os
import sys
from glob import glob

PROFILE = config.get("profile", "reference")
BUILD = f"build/{PROFILE}"
RUNS = os.environ.get("PIXELLIB_RUNS") or "build/runs"
NAMES = sorted(glob_wildcards(r"notebooks/{name,\d\d_\w+}.ipynb").name)


wildcard_constraints:
    name=r"\d\d_\w+",


localrules:
    all,
    sweep,
    page,
    index,


rule all:
    input:
        f"{BUILD}/site/index.html",
        expand("{build}/site/{name}.html", build=BUILD, name=NAMES),


rule notebook:
    input:
        source="notebooks/{name}.ipynb",
        code=sorted(glob("pixellib/**/*.py", recursive=True)),
        results=sorted(glob("data/checkpoints/*.safetensors") + glob("figures/results/*.*")),
    output:
        executed=f"{BUILD}/notebooks/{{name}}.ipynb",
        figures=directory(f"{BUILD}/figures/{{name}}"),
    log:
        f"{BUILD}/logs/{{name}}.log",
    threads: int(config.get("threads", 1))
    resources:
        mem_mb=4000,
        runtime=60 if PROFILE != "paper" else 2880,
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable:q} -m pixellib notebook {wildcards.name} --profile {PROFILE}"
        " --output {output.executed:q} -p figures_dir={output.figures:q} 2>&1 | tee {log:q}"


def trained(run, seed=0):
    """The record of a training: its folder holds the checkpoint too, and what a killed one goes on from."""
    return f"{RUNS}/{run}/{PROFILE}-seed{seed}/{run}.json"


def sweep_records(wildcards):
    from pixellib.series.permuted import sweep

    return [trained(name, seed) for name, seed in sweep.trainings()]


rule sweep:
    input:
        sweep_records,


def codes_of(wildcards):
    from pixellib.series import runs

    codes = runs.get(wildcards.run).codes
    return trained(codes.name) if codes else []


rule run:
    input:
        codes_of,
    output:
        trained("{run}", "{seed}"),
    log:
        f"{RUNS}/{{run}}/{PROFILE}-seed{{seed}}/log",
    wildcard_constraints:
        run=r"[a-z0-9-]+",
    threads: int(config.get("threads", 1))
    resources:
        mem_mb=4000,
        runtime=120 if PROFILE != "paper" else 2880,
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable:q} -m pixellib train {wildcards.run} --profile {PROFILE}"
        " --seed {wildcards.seed} 2>&1 | tee {log:q}"


rule page:
    input:
        executed=f"{BUILD}/notebooks/{{name}}.ipynb",
        template=["pixellib/series/site/render.py", *glob("pixellib/series/site/templates/**/*.j2", recursive=True)],
    output:
        f"{BUILD}/site/{{name}}.html",
    log:
        f"{BUILD}/logs/{{name}}.page.log",
    shell:
        "{sys.executable:q} pixellib/series/site/render.py page {output:q} {input.executed:q} 2>&1 | tee {log:q}"


rule index:
    input:
        executed=expand("{build}/notebooks/{name}.ipynb", build=BUILD, name=NAMES),
        template=["pixellib/series/site/render.py", *glob("pixellib/series/site/templates/**/*.j2", recursive=True)],
    output:
        f"{BUILD}/site/index.html",
    shell:
        "{sys.executable:q} pixellib/series/site/render.py index {output:q} {input.executed:q}"
