"""Lightning, imported after torchvision is known to import.

Lightning imports torchmetrics, which imports torchvision where it is installed; see
geotiler.models.vision for why that needs care. Training modules take Lightning from here.
"""

from __future__ import annotations

import logging

from geotiler.models.vision import torchvision

torchvision()

import lightning.pytorch as pl  # noqa: E402

# Lightning announces the machine, its products and every checkpoint; the reporter says what
# matters. Its warnings stay.
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)

__all__ = ["pl"]
