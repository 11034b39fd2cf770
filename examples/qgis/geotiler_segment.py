"""A QGIS Processing algorithm: buildings from a raster layer, by the command `geotiler`.

Processing > Toolbox > Scripts > Add script to toolbox. The command is found on the PATH or where
the setting says; it needs no package in QGIS's own Python.
"""

import os
import shutil
import subprocess

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
)


class GeotilerBuildings(QgsProcessingAlgorithm):
    """Segments a raster and makes polygons of the mask."""

    def name(self):
        """Identifier."""
        return "geotiler_buildings"

    def displayName(self):  # noqa: N802 - QGIS calls it so
        """What the toolbox shows."""
        return "Buildings (geotiler)"

    def shortHelpString(self):  # noqa: N802
        """What the dialog shows."""
        return (
            "Finds buildings with geotiler. Memory does not grow with the raster. The messages of "
            "geotiler say what is wrong and which setting mends it."
        )

    def createInstance(self):  # noqa: N802
        """A fresh one."""
        return GeotilerBuildings()

    def initAlgorithm(self, configuration=None):  # noqa: N802
        """Inputs and outputs."""
        number = QgsProcessingParameterNumber
        self.addParameter(QgsProcessingParameterRasterLayer("SCENE", "Scene"))
        self.addParameter(QgsProcessingParameterString("MODEL", "Model", "buildings"))
        self.addParameter(
            number("MIN_AREA", "Smallest building, m²", number.Double, 10.0, minValue=0.0)
        )
        self.addParameter(
            QgsProcessingParameterString("FLAGS", "More flags of segment", "", optional=True)
        )
        self.addParameter(
            QgsProcessingParameterFile("COMMAND", "geotiler, if not on the PATH", optional=True)
        )
        self.addParameter(QgsProcessingParameterRasterDestination("MASK", "Mask"))
        self.addParameter(
            QgsProcessingParameterVectorDestination(
                "BUILDINGS", "Buildings", QgsProcessing.TypeVectorPolygon
            )
        )

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        """Run `geotiler segment`, then `geotiler vectorize`."""
        command = self.parameterAsString(parameters, "COMMAND", context) or shutil.which("geotiler")
        if not command:
            raise QgsProcessingException("geotiler is not on the PATH: name the command")
        scene = self.parameterAsRasterLayer(parameters, "SCENE", context).source()
        mask = self.parameterAsOutputLayer(parameters, "MASK", context)
        buildings = self.parameterAsOutputLayer(parameters, "BUILDINGS", context)
        model = self.parameterAsString(parameters, "MODEL", context)
        flags = self.parameterAsString(parameters, "FLAGS", context).split()
        least = str(self.parameterAsDouble(parameters, "MIN_AREA", context))
        segment = [command, "segment", scene, "-o", mask, "--model", model, "--overwrite", *flags]
        vectorize = [command, "vectorize", mask, "-o", buildings, "--min-area", least]
        self._run(segment, feedback)
        self._run([*vectorize, "--overwrite"], feedback)
        return {"MASK": mask, "BUILDINGS": buildings}

    def _run(self, words, feedback):
        # QGIS points these at its own Python and libraries, which are not geotiler's.
        own = {"PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "PROJ_LIB", "PROJ_DATA"}
        kept = {name: value for name, value in os.environ.items() if name not in own}
        feedback.pushCommandInfo(" ".join(words))
        running = subprocess.Popen(
            words, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        last = ""
        for line in running.stdout:
            last = line.strip() or last
            feedback.pushInfo(line.rstrip())
            if feedback.isCanceled():
                running.terminate()
        if running.wait() != 0:
            raise QgsProcessingException(last or "geotiler failed")
