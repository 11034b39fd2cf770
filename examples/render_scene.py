"""Render an invented aerial scene, and the outlines of its buildings, to try geotiler on.

    python examples/render_scene.py scene.tif --truth truth.geojson

Nothing in it is a real place. The same seed, size and GSD always give the same pixels. This is
`geotiler render`, whose report goes to standard output as JSON.
"""

from __future__ import annotations

import sys

from geotiler.cli.main import main as geotiler


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    return geotiler(["render", "--json", *given])


if __name__ == "__main__":
    sys.exit(main())
