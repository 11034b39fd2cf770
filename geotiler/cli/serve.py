"""`geotiler serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geotiler.errors import MissingExtraError, SpecError
from geotiler.machine import return_large_blocks
from geotiler.spelling import nearest, plain

if TYPE_CHECKING:
    from geotiler.service.settings import Settings

PREFIX = "GEOTILER_SERVE_"


def serve(
    host: Annotated[
        str | None,
        typer.Option(help="Address to bind.", show_default="127.0.0.1", allow_from_autoenv=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port.", show_default="8000", allow_from_autoenv=False)
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder of uploads, jobs and results.",
            show_default="geotiler-serve",
            allow_from_autoenv=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder of model folders.",
            show_default="the shipped ones",
            allow_from_autoenv=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model of requests that name none.",
            show_default="buildings",
            allow_from_autoenv=False,
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder or URL prefix from which callers may name scenes; may be given again.",
            show_default="none",
            allow_from_autoenv=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="auto, cpu, cuda, cuda:N or mps.", show_default="auto", allow_from_autoenv=False
        ),
    ] = None,
    env_file: Annotated[
        Path | None, typer.Option(help="File of GEOTILER_SERVE_* settings.", show_default=False)
    ] = None,
) -> None:
    """Serve the models over HTTP: a page, /predict, /batch, /jobs, /models, /metrics, /docs.

    Everything else, limits and API keys among it, is set by GEOTILER_SERVE_* in the environment;
    see docs/SERVICE.md.
    """
    given = {
        "host": host, "port": port, "folder": folder, "weights": weights, "model": model,
        "allow": tuple(allow) if allow else None, "device": device,
    }  # fmt: skip
    settings = settings_from({name: value for name, value in given.items() if value is not None},
                             env_file)  # fmt: skip
    from geotiler.service.app import serve as run

    return_large_blocks()
    run(settings)


def settings_from(given: dict[str, Any], env_file: Path | None = None) -> Settings:
    """The settings of a service: what is given, else the environment, else a file, else defaults.

    Raises:
        SpecError: a value that cannot be, or a variable that is none of the settings.
        MissingExtraError: the packages of the extra `serve` are not installed.
    """
    try:
        from pydantic import ValidationError
        from pydantic_settings import BaseSettings, SettingsConfigDict

        import geotiler.service.app  # noqa: F401 - so that a missing package is told here
        from geotiler.service.settings import Settings
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "geotiler":
            raise
        raise MissingExtraError(str(error.name), "geotiler serve", extra="serve") from error
    if env_file is not None and not env_file.is_file():
        raise SpecError(f"no such file: {env_file}", hint="--env-file .env")

    class FromEnvironment(BaseSettings, Settings):  # type: ignore[misc]
        """The same fields, filled from the environment where nothing is given."""

        model_config = SettingsConfigDict(
            env_prefix=PREFIX, env_file=env_file, enable_decoding=False, extra="ignore",
            env_ignore_empty=True,
        )  # fmt: skip

    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known | {f"{PREFIX}ENV_FILE"}:
            near = nearest(name, known)
            raise SpecError(
                f"{name} is no setting of geotiler serve",
                hint=f"did you mean {near}?" if near else "docs/SERVICE.md lists them",
            )
    try:
        values = FromEnvironment(**given).model_dump()
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "a setting"
        raise SpecError(
            f"{name}: {plain(first['msg'])}",
            hint=f"--{name} sets it" if name in given else f"{PREFIX}{name.upper()} sets it",
        ) from None
