"""Arrays that stay on the network's device give the mask of those that live on the host.

The device is torch's `cpu` here, which runs the very same code but for pinned memory and streams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geotiler.errors import DeviceError, ModelError
from geotiler.models.bundle import Bundle, open_bundle, write_bundle
from geotiler.models.card import ClassInfo, ModelCard
from geotiler.models.networks import FROM_DISK
from geotiler.models.torch_predictor import TorchPredictor
from geotiler.progress import StageAdvanced
from geotiler.specs import Backend, Precision, Scale, SegmentSpec
from geotiler.tasks import segment_plan
from geotiler.tasks.segment import segment

SHAPE = (150, 170)
TILE = (64, 96)


@dataclass
class Torch:
    """A source of torch's predictors on the cpu, which keep their arrays there or do not."""

    is_resident: bool
    opened: list[TorchPredictor] = field(default_factory=list)
    bundle = staticmethod(FROM_DISK.bundle)
    tile_shape = staticmethod(FROM_DISK.tile_shape)

    def predictor(
        self, bundle: Bundle, *, batch: int | None, tile_shape: tuple[int, int], **_: Any
    ) -> TorchPredictor:
        made = TorchPredictor(
            bundle,
            device="cpu",
            precision=Precision.FLOAT32,
            batch=batch or 1,
            tile_shape=tile_shape,
            threads=1,
            is_resident=self.is_resident,
        )
        self.opened.append(made)
        return made

    @property
    def returned_bytes(self) -> int:
        """What the last predictor's device sent back."""
        resident = self.opened[-1].resident
        assert resident is not None
        return resident.arrays.returned_bytes


pytestmark = pytest.mark.usefixtures("torch_as_before")


def _write(path: Path, image: NDArray[Any], **profile: Any) -> Path:
    count, height, width = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=image.dtype,
        crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6), blockysize=16, **profile,
    ) as out:  # fmt: skip
        out.write(image)
    return path


def _image(dtype: str, shape: tuple[int, int] = SHAPE) -> tuple[NDArray[Any], dict[str, Any]]:
    """Noise in the range of a type with a hole of nodata that holds whole windows."""
    rng = np.random.default_rng(3)
    unit = rng.random((3, *shape))
    high = {"uint8": 255, "uint16": 60_000, "int16": 20_000, "int32": 2e9}.get(dtype, 1.5)
    image = (unit * high + (1 if high > 2 else 0)).astype(dtype)
    nodata = np.nan if dtype.startswith("float") else 0
    image[:, 30:120, :100] = nodata
    image[:, ::17, ::13] = nodata
    return image, {"nodata": nodata}


def _spec(scene: Path, bundle: Bundle, folder: str, **changes: Any) -> SegmentSpec:
    output = scene.parent / folder / "mask.tif"
    output.parent.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "scene": str(scene), "output": output, "model": str(bundle.folder), "tile_px": TILE,
        "overlap_px": 16, "backend": Backend.TORCH, "gsd_m": (0.5, 0.5),
        "probability": output.with_name("p.tif"), "probability_dtype": "float32", **changes,
    }  # fmt: skip
    return SegmentSpec(**values)


def _read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as found:
        array: NDArray[Any] = found.read()
        return array


def _compared(scene: Path, bundle: Bundle, **changes: Any) -> Torch:
    """Run both ways, compare everything that comes out, and give back the resident network."""
    there, here = Torch(is_resident=True), Torch(is_resident=False)
    specs = [_spec(scene, bundle, folder, **changes) for folder in ("there", "here")]
    reports = [segment(spec, networks=way) for spec, way in zip(specs, (there, here), strict=True)]
    masks = [_read(spec.output)[0] for spec in specs]
    found, expected = (_read(spec.output.with_name("p.tif")) for spec in specs)
    assert here.opened[0].resident is None
    if found.dtype == np.float32:
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        assert np.nanmax(np.abs(found - expected)) <= 1e-5
        assert np.nanmax(expected) - np.nanmin(expected) > 0.3  # else there is nothing to compare
        near = np.zeros(masks[0].shape, bool)
        if len(expected) == 1:
            near = np.abs(expected[0] - bundle.card.threshold) < 1e-5
        else:
            best = np.sort(expected, axis=0)
            near = best[-1] - best[-2] < 1e-5
        assert near.mean() < 0.01
        np.testing.assert_array_equal(masks[0][~near], masks[1][~near])
    else:
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert ((found == 255) == (expected == 255)).all()
        assert (masks[0] != masks[1]).mean() < 1e-3
    assert len(np.unique(masks[1])) > 2  # nodata and at least two classes
    first, second = reports
    assert (first.windows, first.skipped) == (second.windows, second.skipped)
    assert first.skipped > 0 or "gsd_m" in changes
    assert first.class_px["nodata"] == second.class_px["nodata"]
    return there


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_type_of_scene(tmp_path: Path, tiny_bundle: Bundle, dtype: str, batch: int) -> None:
    image, profile = _image(dtype)
    scene = _write(tmp_path / "scene.tif", image, **profile)
    highest = float(np.nanmax(image.astype(float)))
    scale = Scale(minimum=0.1 * highest, maximum=0.8 * highest)
    _compared(scene, tiny_bundle, batch=batch, scale=scale)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("panel_px", [10**9, 90])
def test_only_decided_rows_come_back(
    tmp_path: Path,
    tiny_bundle: Bundle,
    dtype: str,
    panel_px: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segment_plan, "PANEL_PX", panel_px)
    image, profile = _image("uint8")
    scene = _write(tmp_path / "scene.tif", image, **profile)
    there = _compared(scene, tiny_bundle, probability_dtype=dtype)
    pixels = SHAPE[0] * SHAPE[1]
    each = 1 + np.dtype(dtype).itemsize
    sums = there.returned_bytes - pixels * each
    assert 0 < sums < 40 * 3 * 4 + 1  # five numbers for each of three strips of a panel
    assert sums % 40 == 0
    segment(_spec(scene, tiny_bundle, "alone", probability=None), networks=there)
    assert there.returned_bytes == pixels + sums


@pytest.fixture
def three_classes(
    tmp_path: Path, make_card: Callable[..., ModelCard], make_network: Callable[[ModelCard], Any]
) -> Bundle:
    """A model of three classes with ids of their own."""
    classes = tuple(
        ClassInfo(id=number, name=name, color="#123456")
        for number, name in ((7, "none"), (20, "water"), (31, "forest"))
    )
    arguments = {**make_card().arguments, "classes": 3}
    card = make_card(classes=classes, activation="softmax", arguments=arguments)
    write_bundle(tmp_path / "three", card, make_network(card))
    return open_bundle(tmp_path / "three")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_several_classes(tmp_path: Path, three_classes: Bundle, dtype: str) -> None:
    image, profile = _image("uint8")
    scene = _write(tmp_path / "scene.tif", image, **profile)
    _compared(scene, three_classes, probability_dtype=dtype)
    assert set(np.unique(_read(tmp_path / "there" / "mask.tif"))) <= {7, 20, 31, 255}


def test_an_area_that_is_asked_for(tmp_path: Path, tiny_bundle: Bundle) -> None:
    import geopandas
    from shapely import Polygon

    corners = [(x * 0.5 + 5e5, 5e6 - y * 0.5) for x, y in [(20, 5), (165, 60), (90, 145)]]
    aoi = tmp_path / "aoi.gpkg"
    geopandas.GeoDataFrame(geometry=[Polygon(corners)], crs="EPSG:32633").to_file(aoi)
    image, profile = _image("uint8")
    scene = _write(tmp_path / "scene.tif", image, **profile)
    _compared(scene, tiny_bundle, aoi=str(aoi))


def test_seams_are_measured_alike(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last pair: that of a strip is what its journal keeps."""
    from geotiler.tasks import segment_strips

    image, profile = _image("uint8", (300, 400))
    scene = _write(tmp_path / "scene.tif", image, **profile)
    sums: list[Any] = []
    whole = segment_strips._stored

    def heard(*arguments: Any) -> Any:
        strip, seconds = whole(*arguments)
        sums.append((strip.mask.row, *strip.seam_sums[0], *strip.seam_sums[1]))
        return strip, seconds

    monkeypatch.setattr(segment_strips, "_stored", heard)
    for is_resident in (True, False):
        spec = _spec(scene, tiny_bundle, f"resident {is_resident}")
        segment(spec, networks=Torch(is_resident=is_resident))
    half = len(sums) // 2
    found, expected = (np.array(sorted(part)) for part in (sums[:half], sums[half:]))
    np.testing.assert_array_equal(found[:, [0, 2, 4]], expected[:, [0, 2, 4]])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (expected[:, 4] > 100).all()


@pytest.mark.parametrize("images", [2, 4])
def test_mirror_images_are_averaged_there(tmp_path: Path, tiny_bundle: Bundle, images: int) -> None:
    image, profile = _image("uint8")
    scene = _write(tmp_path / "scene.tif", image, **profile)
    there = _compared(scene, tiny_bundle, tta=images, batch=2)
    assert there.returned_bytes > 0


def test_resampled_scenes_take_the_hosts_way(tmp_path: Path, tiny_bundle: Bundle) -> None:
    image, profile = _image("uint8")
    scene = _write(tmp_path / "scene.tif", image, **profile)
    there = _compared(scene, tiny_bundle, gsd_m=(0.3, 0.8))
    assert there.returned_bytes == 0


def test_a_stopped_run_goes_on_to_the_same_bytes(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, profile = _image("uint8", (420, 170))
    scene = _write(tmp_path / "scene.tif", image, **profile)
    monkeypatch.setattr(segment_plan, "PANEL_PX", 90)
    spec = _spec(scene, tiny_bundle, "stopped")
    windows = 0

    def stop(event: Any) -> None:
        nonlocal windows
        windows += int(event.amount) if isinstance(event, StageAdvanced) else 0
        if windows >= 22:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(spec, report=stop, networks=Torch(is_resident=True))
    assert not spec.output.exists()
    assert segment(spec, networks=Torch(is_resident=True)).resumed_px > 0
    whole = _spec(scene, tiny_bundle, "whole")
    segment(whole, networks=Torch(is_resident=True))
    for name in ("mask.tif", "p.tif"):
        found, expected = (each.output.with_name(name).read_bytes() for each in (spec, whole))
        assert found == expected


def test_an_answer_that_is_no_number_is_told(tmp_path: Path, tiny_bundle: Bundle) -> None:
    import torch

    image, profile = _image("uint8")
    scene = _write(tmp_path / "scene.tif", image, **profile)
    there = Torch(is_resident=True)
    opened = there.predictor

    def damaged(*arguments: Any, **settings: Any) -> TorchPredictor:
        made = opened(*arguments, **settings)
        with torch.no_grad():
            next(iter(made._network.parameters())).fill_(float("nan"))
        return made

    there.predictor = damaged  # type: ignore[method-assign]
    spec = _spec(scene, tiny_bundle, "damaged")
    with pytest.raises(ModelError, match="no number"):
        segment(spec, networks=there)
    assert not spec.output.exists()


def test_a_device_that_fails_is_told_with_a_way_out(tmp_path: Path, tiny_bundle: Bundle) -> None:
    import torch

    image, profile = _image("uint8")
    scene = _write(tmp_path / "scene.tif", image, **profile)
    there = Torch(is_resident=True)
    opened = there.predictor

    def full(*arguments: Any, **settings: Any) -> TorchPredictor:
        made = opened(*arguments, **settings)

        def refuse(*_: Any) -> None:
            raise torch.OutOfMemoryError("out of memory, tried to allocate 5 GiB")

        made._network.register_forward_pre_hook(refuse)
        return made

    there.predictor = full  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="out of memory") as caught:
        segment(_spec(scene, tiny_bundle, "full"), networks=there)
    assert "--batch 1" in str(caught.value.hint)
