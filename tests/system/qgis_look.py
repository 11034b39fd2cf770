"""Loads layers in QGIS as a person would and says what it sees; run by the system's Python.

python3 qgis_look.py OUT.png LAYER...      prints JSON; vectors and rasters by what they are
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def _seen(path: str, qgis: Any) -> tuple[Any, dict[str, Any]]:
    name = path.rsplit("/", 1)[-1]
    if path.endswith((".tif", ".png")):
        raster = qgis.QgsRasterLayer(path, name)
        renderer = raster.renderer()
        legend = [(item[0], item[1].name()) for item in renderer.legendSymbologyItems()]
        return raster, {"valid": raster.isValid(), "renderer": renderer.type(), "legend": legend}
    vector = qgis.QgsVectorLayer(path, name, "ogr")
    renderer = vector.renderer()
    categories = getattr(renderer, "categories", list)()
    legend = [(one.label(), one.symbol().symbolLayer(0).strokeColor().name()) for one in categories]
    return vector, {
        "valid": vector.isValid(),
        "features": vector.featureCount(),
        "renderer": renderer.type(),
        "legend": legend,
    }


def main(picture: str, paths: list[str]) -> None:
    """Print what each layer is, and draw all of them."""
    from qgis import core as qgis
    from qgis.PyQt.QtCore import QSize
    from qgis.PyQt.QtGui import QColor

    application = qgis.QgsApplication([], False)
    application.initQgis()
    layers, seen = [], {}
    for path in paths:
        layer, told = _seen(path, qgis)
        layers.append(layer)
        seen[path.rsplit("/", 1)[-1]] = told
    settings = qgis.QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(layers[-1].crs())
    settings.setExtent(layers[-1].extent())
    settings.setOutputSize(QSize(600, 450))
    settings.setBackgroundColor(QColor("white"))
    job = qgis.QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(picture)
    print(json.dumps(seen), flush=True)
    os._exit(0)  # taking Qt down in the order Python chooses crashes


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
