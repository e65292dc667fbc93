"""The commands that score data with an exported model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from iwae_tf.commands.base import Overwrite, SavedModel, command
from iwae_tf.commands.options import parse_names
from iwae_tf.notices import load_tensorflow


@command()
def score(
    saved_model: SavedModel,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help=".npy, .npz, .csv, .parquet, .tfrecord, or a folder of such files or of images.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help=".csv or .parquet to write.", show_default=False)],
    batch_size: Annotated[int, typer.Option(help="Rows scored at once.")] = 100,
    header: Annotated[
        bool | None,
        typer.Option(help="Whether the first line of a .csv is a header. Default: decided by its first lines."),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column that identifies rows, copied to the scores. Default: as in training.")
    ] = None,
    ignored_columns: Annotated[
        Any,
        typer.Option(
            "--ignore",
            parser=parse_names,
            metavar="NAME,NAME",
            help="Columns to leave out, besides those of training.",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score the rows of a file with a SavedModel; after an interrupt the same command resumes."""
    from iwae_tf import files

    files.check_saved_model(saved_model)
    files.check_exists(source)
    load_tensorflow()
    from iwae_tf import scoring

    try:
        summary = scoring.score(
            saved_model, source, output, batch_size, overwrite, verbose=1, header=header, id_column=id_column,
            ignored_columns=ignored_columns or (),
        )  # fmt: skip
    except KeyboardInterrupt:
        raise KeyboardInterrupt("after some rows, whose scores are kept; the same command resumes") from None
    if summary.resumed_at:
        typer.echo(f"resumed at row {summary.resumed_at}")
    if summary.rejected:
        typer.echo(f"{summary.rejected} of {summary.rows} rows rejected: {summary.rejected_path}")
    scored = summary.rows - summary.rejected
    typer.echo(f"{scored} rows, mean log-likelihood {summary.mean_log_likelihood:.3f} nats: {output}")


@command()
def anomalies(
    saved_model: SavedModel,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Rows to judge, as for score.", show_default=False)],
    reference: Annotated[Path, typer.Option(help="Normal rows that were not trained on, as for score.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    background: Annotated[Path | None, typer.Option(help="SavedModel of general features, for the ratio.")] = None,
    labels: Annotated[str | None, typer.Option(help="Column with 1 for anomalies and 0 for normal rows.")] = None,
    false_alarms: Annotated[float, typer.Option(help="Share of the reference that may exceed a threshold.")] = 0.05,
    id_column: Annotated[str | None, typer.Option(help="Column that identifies rows. Default: as in training.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score the rows of a file as anomalies, with thresholds from normal data and, with labels, ROC curves."""
    from iwae_tf import files

    files.check_absent(output, overwrite)
    files.check_saved_model(saved_model)
    for path in (source, reference):
        files.check_exists(path)
    load_tensorflow()
    from iwae_tf.scoring import anomalies

    thresholds = anomalies.detect(
        saved_model, source, reference, output, background, labels, false_alarms, id_column, overwrite, verbose=1
    )
    typer.echo(f"{thresholds.to_string(index=False)}\n{output}")


@command(ignore_unknown_options=True, allow_extra_args=True)
def score_beam(
    context: typer.Context,
    saved_model: Annotated[str, typer.Argument(help="Folder of a SavedModel.", show_default=False)],
    pattern: Annotated[
        str, typer.Argument(metavar="INPUT", help="Such as 'data/*.parquet' or '*.tfrecord'.", show_default=False)
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    batch_size: Annotated[int, typer.Option(help="Rows scored at once.")] = 100,
    overwrite: Overwrite = False,
) -> None:
    """Score the rows of many files on Apache Beam; all other options go to Beam, such as --runner."""
    load_tensorflow()
    from iwae_tf.scoring import beam

    scored, rejected = beam.score(saved_model, pattern, output, batch_size, overwrite, context.args)
    typer.echo(f"{scored} rows scored, {rejected} rejected: {output}")


@command()
def serve(
    saved_model: SavedModel,
    name: Annotated[str | None, typer.Option(help="Name in the URLs. Default: the folder's.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0: all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: any that is free.")] = 8501,
    batch_size: Annotated[int, typer.Option(help="Rows of concurrent requests that are run at once.")] = 100,
    max_rows: Annotated[int, typer.Option(help="Rows that a request may send, or ask to sample.")] = 1000,
    max_samples: Annotated[int, typer.Option(help="Importance samples that a request may ask for.")] = 10_000,
    max_body: Annotated[int, typer.Option(help="Size of a request's body, in MiB.")] = 32,
) -> None:
    """Serve a SavedModel over HTTP, by the REST API of TensorFlow Serving, until SIGTERM or Ctrl-C."""
    from iwae_tf.serving import make_application, server

    with server.listen(host, port) as listener:
        application = make_application(saved_model, name, batch_size, max_rows, max_samples, max_body)
        address = f"[{host}]" if ":" in host else host
        typer.echo(f"Serving http://{address}:{listener.getsockname()[1]}{application.state.path}")
        server.run(application, listener)
