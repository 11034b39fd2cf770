"""A page that needs nothing but itself: pictures, data, style and script in one HTML file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geotiler.errors import OutputError
from geotiler.io.outputs import replacing

_TEMPLATE = Path(__file__).with_name("page.html")
_SLOT = "/*CONTENT*/"
_JPEG_QUALITY = 82
_OPAQUE = 255


def jpeg_data(image: NDArray[np.uint8]) -> str:
    """A red-green-blue picture (row, col, 3) as a data address, compressed with loss."""
    blue_first = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return _address("image/jpeg", content)


def png_data(ids: NDArray[np.uint8], colours: Mapping[int, tuple[int, int, int]]) -> str:
    """Class ids (row, col) as a data address of a picture; clear where there is no colour."""
    table = np.zeros((256, 4), np.uint8)
    for value, (red, green, blue) in colours.items():
        table[value] = (blue, green, red, _OPAQUE)
    _, content = cv2.imencode(".png", table[ids], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return _address("image/png", content)


def _address(kind: str, content: NDArray[np.uint8]) -> str:
    return f"data:{kind};base64,{base64.b64encode(content.tobytes()).decode('ascii')}"


def save_page(path: Path, content: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Write the page with its content, under a temporary name first.

    Raises:
        OutputError: the target exists or cannot be written.
    """
    data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Inside a script element only `<` could end it or open a comment.
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    template = _TEMPLATE.read_text(encoding="utf-8")
    with replacing(path, overwrite) as temporary:
        try:
            temporary.write_text(template.replace(_SLOT, data), encoding="utf-8", newline="\n")
        except OSError as error:
            raise OutputError(f"output {path} cannot be written: {error.strerror}") from error
