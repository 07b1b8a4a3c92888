"""The command line: what users type, what make calls, and two measurements for maintainers."""

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

try:
    import typer
except ModuleNotFoundError:  # of the console script too, which comes with the library alone
    sys.exit("pixellib: the command line is part of the series, install that as well: pip install -e '.[series]'")

import pixellib

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _whole(option: str, low: int, high: int, text: str) -> typer.models.OptionInfo:
    """An option that takes a whole number: other text is a usage error, a number out of bounds one line."""

    def parse(value: object) -> int:
        sign, digits = -1 if str(value)[:1] == "-" else 1, str(value).removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise typer.BadParameter("it must be a whole number")
        if len(digits) > 20 or not low <= sign * int(digits) <= high:  # int() refuses thousands of digits
            raise OverflowError(f"{option} must be from {low:,} to {high:,}")
        return sign * int(digits)

    return typer.Option(parser=parse, metavar="INTEGER", help=text)


def _next_time(text: str) -> float:
    """The next moment, as `time.time()` counts, at which a local clock shows HH:MM."""
    now = datetime.now()
    try:
        then = datetime.combine(now, datetime.strptime(text, "%H:%M").time())
    except ValueError as error:
        raise typer.BadParameter("it must be a time such as 07:30") from error
    return (then if then > now else then + timedelta(days=1)).timestamp()


NOT_DONE = 75  # the exit code of a training whose time was over

Profile = Annotated[str, typer.Option(help="quick, reference or paper.")]
TrainedProfile = Annotated[str, typer.Option(help="That of the run's training: quick, reference or paper.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Jobs = Annotated[int | None, _whole("--jobs", 1, 1_000, "Cores to use [default: all].")]
TrainingSeed = Annotated[int, _whole("--seed", 0, 2**32 - 1, "Of the weights, the batches and the noise.")]
Seed = Annotated[int, _whole("--seed", 0, 2**32 - 1, "Of what is drawn; the model is that of seed 0.")]


# Each command imports what it needs, so that `pixellib --help` does not wait for torch.


def _print_version(asked: bool) -> None:
    if asked:
        print(pixellib.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """How do you put a probability on a pixel? The runs, notebooks and data of the series."""


@app.command("runs")
def list_runs(
    shipped: Annotated[bool, typer.Option("--shipped", help="Only those whose trained model is shipped.")] = False,
) -> None:
    """List the named runs: data set, where its model is, how long the training took, and what it is.

    A model is shipped, or here if it was trained on this machine (or both: then the shipped one is used); of some runs
    only a record is shipped.
    """
    from pixellib.series import paths, runs

    width = max(map(len, runs.names()))
    print(f"{'run':<{width}} {'data':<8} {'model':<13} {'training':>8}  what it is")
    for name in runs.names():
        run = runs.get(name)
        recorded = run.record_path().exists()
        path = run.checkpoint_path()
        where = "record" if recorded else "-"
        if path:
            where = "shipped" if path.parent == paths.CHECKPOINTS else "here"
        if shipped and where != "shipped":
            continue
        if where == "shipped" and run.trained_path("reference").exists():
            where = "shipped, here"
        duration = f"{runs.record(name)['training_minutes']:.0f} min" if recorded else ""
        print(f"{name:<{width}} {run.dataset:<8} {where:<13} {duration:>8}  {run.title}")


@app.command()
def train(
    names: Annotated[list[str], typer.Argument(metavar="NAME...")],
    profile: Profile = "reference",
    device: Device = "auto",
    seed: TrainingSeed = 0,
    fresh: Annotated[bool, typer.Option(help="Start anew instead of resuming.")] = False,
    compile: Annotated[bool, typer.Option("--compile", help="With torch.compile; needs a C++ compiler.")] = False,
    until: Annotated[
        float | None,
        typer.Option(
            parser=_next_time, metavar="HH:MM", help="Stop then, with exit code 75, but keep the state to go on from."
        ),
    ] = None,
) -> None:
    """Train runs one after another, or go on where one stopped.

    The state is saved every minute and on Ctrl-C. On many devices: torchrun -m pixellib train NAME.
    """
    from pixellib import OutOfTime, devices
    from pixellib.series import paths, runs
    from pixellib.series.train import finished

    options = {"device": device, "seed": seed, "resume": not fresh, "compile": compile, "until": until}
    chosen = [runs.get(name) for name in names]
    with devices.process_group() as rank:  # torchrun starts this once per device
        for run in chosen:
            done = None if fresh or rank else finished(run, profile, seed)
            try:
                record = run.train(profile, **options)
            except OutOfTime as stopped:
                print(f"{run.name}: {stopped}", file=sys.stderr)
                raise typer.Exit(NOT_DONE) from stopped
            if rank == 0:
                if done:
                    print(f"{run.name}: already trained ({done['steps']:,} steps); --fresh trains anew")
                _print_results(run.name, record["results"])
                trained_here = run.trained_path(profile, seed)
                print(f"{run.name}: record and weights are in {paths.shorten(trained_here.parent)}")
                if run.checkpoint_path(profile, seed) not in (trained_here, None):
                    print(
                        f"{run.name}: the shipped weights stay in use; to draw with yours, add --weights "
                        f"{paths.shorten(trained_here)} to pixellib sample {run.name}"
                    )


def _print_results(name: str, results: list[dict]) -> None:
    """The negative log-likelihood of each split, as the tables give it."""
    for row in results:
        kind = "lower bound of log p" if row["kind"] == "lower bound" else row["kind"]
        kind += f", M = {row['num_samples']:,}" if row["num_samples"] else ""
        nats = f"{-row['log_likelihood']:.2f} +- {row['standard_error']:.2f} nats"
        print(f"{name} {row['split']}: NLL {nats}, {row['bits_per_dim']:.3f} bits per dimension ({kind})")


@app.command()
def sample(
    name: str,
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    num: Annotated[int, _whole("--num", 1, 10_000, "Number of images.")] = 64,
    profile: TrainedProfile = "reference",
    device: Device = "auto",
    seed: Seed = 0,
    label: Annotated[
        int | None, _whole("--label", 0, 10_000, "Class to draw, of a run with classes [default: all].")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint to load instead of the shipped one, such as your own training's.")
    ] = None,
) -> None:
    """Draw images from a trained run into one grid.

    Of all classes in turn where it has some.
    """
    from pixellib.series import samples

    samples.draw(name, out, num, profile, device, seed, label, weights)


@app.command()
def compress(
    name: str,
    images: Annotated[
        Path,
        typer.Argument(help="A picture, a folder of them, or an .npy or .npz file with one array uint8 (N, C, H, W)."),
    ],
    out: Annotated[Path, typer.Argument(help="File to write.")],
    profile: TrainedProfile = "reference",
    device: Device = "auto",
    batch: Annotated[int, _whole("--batch", 1, 100_000, "Images that are coded at once.")] = 250,
) -> None:
    """Write images into a file, coded with a trained run.

    The file is as short as the run finds the images probable; names of files are not kept. A run can do it if its
    model is autoregressive or has one layer of latents. Pictures must be 8-bit grey or RGB, as the run's images are,
    and should have their size: `pixellib runs` names the run's data set, and `pixellib data` the size of its images.
    """
    from pixellib.series import coded_files

    coded_files.compress(name, images, out, profile, device, batch)


@app.command()
def decompress(
    name: str,
    file: Annotated[Path, typer.Argument(help="What `compress` wrote.")],
    out: Annotated[
        Path, typer.Argument(help="An .npz file, a .png file for a single image, or a folder that is not there yet.")
    ],
    profile: TrainedProfile = "reference",
    device: Device = "auto",
) -> None:
    """Read images back from such a file, with the same run.

    Nothing is written unless every one of them is what it was.
    """
    from pixellib.series import coded_files

    coded_files.decompress(name, file, out, profile, device)


@app.command()
def compressed() -> None:
    """Measure how short files of all test digits are.

    With models and in ordinary formats; all files are read back. Writes a file in build/, which `publish` ships.
    """
    from pixellib.series import compressed

    for row in compressed.measure()["rows"]:
        images, bits = f"{row['num_images']:,} images", f"{row['bits_per_dim']} bits per dimension"
        print(f"{row['name']}: {images}, {row['bytes']:,} bytes, {bits}")


@app.command()
def sampling_times() -> None:
    """Measure how long each shipped model draws an image.

    Writes a file in build/, which `publish` ships.
    """
    from pixellib.series import sampling_times

    for row in sampling_times.measure()["rows"]:
        print(f"{row['name']}: {row['seconds_per_image']} seconds for an image")


@app.command()
def notebook(
    name: str,
    profile: Annotated[str | None, typer.Option(help="The same as -p profile=... [default: reference]")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", help="key=value, repeatable.")] = None,
    output: Annotated[Path | None, typer.Option(help="[default: build/PROFILE/notebooks/NAME.ipynb]")] = None,
) -> None:
    """Run a notebook with parameters; its source stays as it is."""
    from pixellib.series import execute

    settings = [f"profile={profile}"] if profile is not None else []
    name = name.removeprefix("notebooks/").removesuffix(".ipynb")
    execute.execute(name, [*settings, *(parameter or [])], output)


@app.command()
def data(name: Annotated[str | None, typer.Argument(help="Data set to fetch.")] = None) -> None:
    """List the data sets, or fetch and verify one."""
    from pixellib import data

    if name is None:
        for row in data.describe():
            shape = "x".join(map(str, row["shape"]))
            where = "on this machine" if row["present"] else f"from {row['source']}"
            print(f"{row['name']:<16} {shape:<8} {where:<36} {row['licence']}")
        return
    for split in ("train", "validation", "test"):
        images, _ = data.load(name, split)
        print(f"{name} {split}: {tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}")


@app.command()
def figures(
    profile: Profile = "reference",
    jobs: Jobs = None,
    options: Annotated[list[str] | None, typer.Argument(help="Handed to snakemake, after --.")] = None,
) -> None:
    """Run all notebooks and rebuild the site (make figures)."""
    from pixellib.series import build, doctor, execute

    execute.check_profile(profile)
    if not options:
        print(doctor.summary(profile, jobs), file=sys.stderr)
    build.build(profile, jobs, options or [])


@app.command()
def publish(jobs: Jobs = None) -> None:
    """Run all notebooks, and store their outputs in the source notebooks (make publish).

    Finished trainings and measurements are shipped first.
    """
    from pixellib.series import publish

    publish.publish(jobs)


@app.command()
def doctor() -> None:
    """Say what this machine does: processor, speed, PyTorch."""
    from pixellib.series import doctor

    for line in doctor.report():
        print(line)


@app.command()
def check() -> None:
    """Check that what is committed agrees, with exit code 1 if not.

    Notebooks, figures, checkpoints and records.
    """
    from pixellib.series import check

    check.check()


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what a user can cause is one line and exit code 1 (PIXELLIB_TRACEBACK=1: traceback)."""
    try:
        app(args=arguments, prog_name="pixellib")
    except (ValueError, ArithmeticError, OSError, RuntimeError) as error:
        if os.environ.get("PIXELLIB_TRACEBACK"):
            raise
        if isinstance(error, OSError) and error.strerror:
            error = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        print("pixellib:", *str(error).split(), file=sys.stderr)
        sys.exit(1)
