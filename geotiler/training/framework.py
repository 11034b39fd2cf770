"""Lightning, imported after torchvision is known to import.

Lightning imports torchmetrics, which imports torchvision where it is installed; see
geotiler.models.vision for why that needs care. Training modules take Lightning from here.
"""

from __future__ import annotations

from geotiler.models.vision import torchvision

torchvision()

import lightning.pytorch as pl  # noqa: E402

__all__ = ["pl"]
