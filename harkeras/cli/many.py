"""`harkeras predict-many`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harkeras.cli.foreign import (
    ChannelOrder,
    Classes,
    ClipSeconds,
    InputShape,
    Interpolation,
    Normalize,
    Streams,
    read_foreign,
)
from harkeras.cli.prediction import (
    Hysteresis,
    MinSeconds,
    Model,
    PerPerson,
    Runtime,
    Single,
    SmoothingSeconds,
    StrideSeconds,
    Table,
    Threshold,
    find_model,
)
from harkeras.cli.terminal import print_files, print_text, quiet

Backend = Literal["serial", "threading", "loky", "dask", "ray"]


def predict_many(
    videos: Annotated[
        list[str],
        typer.Argument(
            help="Video files, folders of them, patterns in quotes, or addresses such as s3://bucket/clips.",
            metavar="VIDEO...",
        ),
    ],
    output_dir: Annotated[
        str,
        typer.Option(help="Folder for the results, or its address, such as s3://bucket/results."),
    ],
    model: Model = None,
    backend: Annotated[
        Backend,
        typer.Option(help="Who works: this process, its threads, processes, or a cluster of Dask or Ray."),
    ] = "loky",
    workers: Annotated[
        int | None, typer.Option(help="How many; by default one per core, or all of a cluster.", min=1)
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a cluster of Dask or Ray; without one, it is started on this machine."),
    ] = None,
    table: Table = None,
    single: Single = False,
    per_person: PerPerson = False,
    stride_seconds: StrideSeconds = None,
    smoothing_seconds: SmoothingSeconds = None,
    hysteresis: Hysteresis = 0.1,
    min_seconds: MinSeconds = 0.5,
    threshold: Threshold = 0.5,
    clip_seconds: ClipSeconds = None,
    classes: Classes = None,
    normalize: Normalize = None,
    channel_order: ChannelOrder = None,
    streams: Streams = None,
    interpolation: Interpolation = None,
    input_shape: InputShape = None,
    runtime: Runtime = None,
) -> None:
    """Name the actions in thousands of videos, on all cores or on a cluster, a result file for each.

    What is there is not done again: run it anew after an interruption, or when videos were added. Videos that
    could not be done are listed in failures.csv beside the results, and the exit status is then 1.
    """
    if scheduler is not None and backend not in ("dask", "ray"):
        raise ValueError(f"--scheduler has no meaning here: {backend} works on this machine")
    if workers is not None and backend == "serial":
        raise ValueError("--workers has no meaning here: serial is this process alone")
    options = read_foreign(
        clip_seconds, classes, normalize, channel_order, streams, interpolation, input_shape
    )
    if not single:
        options |= {"stride_seconds": stride_seconds, "smoothing_seconds": smoothing_seconds}
        options |= {"hysteresis": hysteresis, "min_seconds": min_seconds, "threshold": threshold}
    options |= {"single": single, "per_person": per_person, "runtime": runtime}
    with working(backend, scheduler, workers):
        _predict(videos, find_model(model), output_dir, table, options)


def _predict(
    videos: list[str], model: Path, output_dir: str, table: Path | None, options: dict[str, Any]
) -> None:
    """Count the results, also after Ctrl-C; end with status 1 if a video failed."""
    with quiet():
        from harkeras.inference.many_videos import FAILURES, predict_on_videos
    results = predict_on_videos(videos, model, output_dir, table=table, **options)
    count = errors = 0
    try:
        for result in results:
            count, errors = count + 1, errors + bool(result.error)
    finally:
        results.close()
        print_text(f"{count - errors} videos have results in {output_dir}")
        if table is not None and count:
            print_files({"table": table})
    if errors:
        failures = f"{output_dir.rstrip('/')}/{FAILURES}"
        print_text(f"{errors} of {count} videos could not be done, see {failures}", file=sys.stderr)
        raise typer.Exit(1)


@contextmanager
def working(backend: Backend, scheduler: str | None, workers: int | None) -> Iterator[None]:
    """Send what goes through joblib inside the block to some workers, which are started where need be."""
    from joblib import parallel_config

    with ExitStack() as stack:
        if backend == "dask":
            _start_dask(stack, scheduler, workers)
        elif backend == "ray":
            _start_ray(stack, scheduler, workers)
        if backend != "serial":
            stack.enter_context(parallel_config(backend=backend, n_jobs=workers or -1))
        yield


def _start_dask(stack: ExitStack, scheduler: str | None, workers: int | None) -> None:
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError('--backend dask needs dask: pip install "harkeras[dask]"') from error
    if scheduler is None:
        local = LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        )
        scheduler = stack.enter_context(local)
    stack.enter_context(Client(scheduler))


def _start_ray(stack: ExitStack, scheduler: str | None, workers: int | None) -> None:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise ImportError('--backend ray needs ray: pip install "harkeras[ray]"') from error
    local = {"num_cpus": workers, "include_dashboard": False} if scheduler is None else {}
    ray.init(scheduler or "local", log_to_driver=False, **local)
    stack.callback(ray.shutdown)
    register_ray()
