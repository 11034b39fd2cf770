"""`geotiler models`: what ships, what it says about itself, and whether it works here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geotiler.cli.console import print_columns
from geotiler.cli.options import AsJson
from geotiler.cli.serve import PREFIX
from geotiler.errors import ModelError, SpecError

if TYPE_CHECKING:
    from geotiler.models.bundle import Bundle

app = typer.Typer(help="List, show, check and promote models.", no_args_is_help=True)

_WEIGHTS = f"{PREFIX}WEIGHTS"
"""Tells a service its folder; what is promoted goes where the service looks."""

Model = Annotated[
    str,
    typer.Argument(help="A shipped model, a model folder or its address, or an .onnx file."),
]


@app.command("list", short_help="List shipped models, or those of a weights folder.")
def list_(
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of model folders.", show_default="the shipped ones"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the models that ship with geotiler, or those of a weights folder."""
    from geotiler.models.registry import list_models, weights_dir

    bundles = list_models() if weights is None else _models_in(weights)
    if as_json:
        folder = str(weights or weights_dir())
        _print_json({"folder": folder, "models": [_summary(one) for one in bundles]})
        return
    rows = [[str(value) for value in _summary(one).values()] for one in bundles]
    print_columns(["name", "version", "task", "classes", "gsd", "licence", "description"], rows)


@app.command()
def show(model: Model, as_json: AsJson = False) -> None:
    """Show the card of a model, its files verified."""
    import json

    from geotiler.models.registry import find_model

    bundle = find_model(model)
    if as_json:
        card = json.loads(bundle.card.to_json())
        _print_json({**card, "folder": str(bundle.folder), "digest": bundle.digest})
        return
    print_columns(["", bundle.card.name], _card_rows(bundle))


@app.command(short_help="Verify digests, and compare the backends' answers.")
def check(
    model: Annotated[
        str | None, typer.Argument(help="A model; all shipped ones if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify digests, and compare the answers of all installed backends."""
    from geotiler.models.check import check_model
    from geotiler.models.registry import find_model, list_models

    bundles = list_models() if model is None else [find_model(model)]
    checks = [check_model(bundle).as_dict() for bundle in bundles]
    if as_json:
        _print_json({"checks": checks})
        return
    rows = [
        [str(one["model"]), "\n".join(one["backends"]), f"{one['largest_difference']:.1e}"]
        for one in checks
    ]
    print_columns(["model", "backends", "largest difference"], rows)


@app.command(short_help="Fetch a model from the web into the cache.")
def fetch(
    address: Annotated[str, typer.Argument(help="Where a model folder lies, as https://…")],
    as_json: AsJson = False,
) -> None:
    """Fetch a model from the web, also where --model has fetched it before."""
    from geotiler.cli.console import emit
    from geotiler.models.fetch import fetched_model

    bundle = fetched_model(address, anew=True)
    found = {
        "model": bundle.card.name,
        "version": bundle.card.version,
        "folder": str(bundle.folder),
        "digest": bundle.digest,
    }
    emit(found, as_json, "geotiler models fetch")


@app.command(short_help="Copy a model into a weights folder, if it is better.")
def promote(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run of geotiler train or of a model, or a shipped model's name."
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder of model folders that a service reads.", show_default=f"${_WEIGHTS}"
        ),
    ] = None,
    if_better: Annotated[
        str | None, typer.Option(help="Metric that must be higher, as iou.", show_default="always")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model there.", show_default="card")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="What both cards were measured on.", show_default="shared, held-out before others"
        ),
    ] = None,
    scores: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Reports of geotiler evaluate --json on held-out data: the new model's, the old "
            "one's. They are compared instead of the cards.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a model into a weights folder, in one step, if it is better than the one there."""
    from geotiler.cli.console import emit
    from geotiler.models.promote import Scores
    from geotiler.models.promote import promote as promoted

    if weights is None and not os.environ.get(_WEIGHTS):
        raise SpecError("no folder to promote to", hint=f"--weights FOLDER or {_WEIGHTS} names it")
    folder = weights or Path(os.environ[_WEIGHTS])
    compared = None if scores is None else Scores(candidate=scores[0], current=scores[1])
    report = promoted(run, folder, name=name, metric=if_better, data=data, scores=compared)
    emit(report.as_dict(), as_json, "geotiler models promote")


def _models_in(weights: Path) -> list[Bundle]:
    """The models that a service offers from that folder, all verified."""
    from geotiler.models.bundle import open_bundle
    from geotiler.models.card import CARD_FILE

    folders = sorted(card.parent for card in weights.glob(f"*/{CARD_FILE}"))
    # a dot begins the name of a folder that is being written
    bundles = [open_bundle(folder) for folder in folders if not folder.name.startswith(".")]
    if not bundles:
        raise ModelError(f"no model in {weights}", hint="--weights names a folder of model folders")
    return bundles


def _summary(bundle: Bundle) -> dict[str, Any]:
    card = bundle.card
    return {
        "name": bundle.folder.name,  # by which it is asked for; `promote --name` leaves the card's
        "version": card.version,
        "task": card.task,
        "classes": ", ".join(info.name for info in card.classes),
        "gsd": "any" if card.gsd_m is None else f"{card.gsd_m:g} m",
        "licence": card.licence,
        "description": card.description,
    }


def _card_rows(bundle: Bundle) -> list[list[str]]:
    """Key and value of each line of the readable card."""
    card = bundle.card
    arguments = ", ".join(f"{key}={value}" for key, value in card.arguments.items())
    rows = {
        "description": card.description,
        "task": card.task,
        "version": f"{card.version} (geotiler {card.geotiler_version})",
        "network": f"{card.library} {card.architecture}({arguments})",
        "bands": ", ".join(card.bands),
        "trained on": f"{card.scale.minimum:g} to {card.scale.maximum:g}"
        + ("" if card.gsd_m is None else f", {card.gsd_m:g} m per pixel"),
        "mean, std": f"{_numbers(card.mean)}; {_numbers(card.std)} (of values scaled to 0..1)",
        "tile": f"{card.tile_px} px, overlap {card.overlap_px} px",
        "classes": "\n".join(f"{info.id} {info.name} {info.color}" for info in card.classes),
        "answer": f"{card.activation}, threshold {card.threshold:g}",
        "measured": "\n".join(
            f"{one.name} {one.value:.4g} on {one.data}" + (f" ({one.how})" if one.how else "")
            for one in card.metrics
        ),
        "training data": "\n".join(card.training_data),
        "licence": card.licence,
        "credits": "\n".join(card.credits),
        "folder": str(bundle.folder),
        "files": "\n".join(f"{name} {digest[:16]}" for name, digest in card.files.items()),
        "digest": bundle.digest,
    }
    return [[key, value] for key, value in rows.items() if value]


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _print_json(content: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
