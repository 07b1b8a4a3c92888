"""Every named run of the series, a file for each family of models: `RUNS`, by name, in the order of the notebooks."""

from pixellib.series.catalogue import (
    flow,
    iwae,
    ladder,
    pixelcnn,
    pixelcnnpp,
    pixelvae,
    recipes,
    scrambled,
    vae,
    vqvae,
)
from pixellib.series.run import Run

RUNS: dict[str, Run] = {
    run.name: run
    for family in (iwae, vae, ladder, flow, pixelcnn, pixelvae, pixelcnnpp, vqvae, recipes, scrambled)
    for run in family.RUNS
}
