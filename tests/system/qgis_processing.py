"""Runs the example's Processing algorithm in a headless QGIS; by the system's Python.

python3 qgis_processing.py SCRIPT JSON-OF-PARAMETERS      prints JSON
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys


def main(script: str, parameters: str) -> None:
    """Print the outputs, or what went wrong."""
    from qgis import core as qgis

    application = qgis.QgsApplication([], False)
    application.initQgis()
    spec = importlib.util.spec_from_file_location("algorithm", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    algorithm = module.GeotilerBuildings()
    algorithm.initAlgorithm()
    context, feedback = qgis.QgsProcessingContext(), qgis.QgsProcessingFeedback()
    values = json.loads(parameters)
    values["SCENE"] = qgis.QgsRasterLayer(values["SCENE"], "scene")
    try:
        print(json.dumps(algorithm.processAlgorithm(values, context, feedback)), flush=True)
    except qgis.QgsProcessingException as error:
        print(json.dumps({"error": str(error)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
