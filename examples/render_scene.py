"""Render an invented aerial scene, and the outlines of its buildings, to try geotiler on.

    python examples/render_scene.py scene.tif --truth truth.geojson

Nothing in it is a real place. The same seed, size and GSD always give the same pixels.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from geotiler.errors import GeotilerError
from geotiler.progress import Event, StageAdvanced, StageStarted
from geotiler.specs import RenderSpec
from geotiler.tasks.render import render


class _Progress:
    """A percentage on standard error, where that is a terminal."""

    def __init__(self) -> None:
        self.total = self.done = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self.total = event.total
        elif isinstance(event, StageAdvanced) and sys.stderr.isatty():
            self.done += event.amount
            end = "\n" if self.done >= 0.9999 * self.total else ""
            print(f"\rrender {self.done / self.total:4.0%}", end=end, file=sys.stderr, flush=True)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("output", type=Path, help="GeoTIFF to write")
    parser.add_argument(
        "--truth",
        type=Path,
        help="file of the building outlines to write, for instance truth.geojson",
    )
    parser.add_argument("--height", type=int, default=4573, help="rows (default: %(default)s)")
    parser.add_argument("--width", type=int, default=4418, help="columns (default: %(default)s)")
    parser.add_argument("--gsd", type=float, default=0.5, help="metres per pixel (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="which town (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The exit code; the report goes to standard output as JSON."""
    arguments = _arguments(argv)
    try:
        spec = RenderSpec(
            output=arguments.output,
            truth=arguments.truth,
            height=arguments.height,
            width=arguments.width,
            gsd_m=arguments.gsd,
            seed=arguments.seed,
            overwrite=arguments.overwrite,
        )
        result = render(spec, report=_Progress())
    except GeotilerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result.as_dict(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
