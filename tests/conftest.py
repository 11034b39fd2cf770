"""What tests of several layers share: one small network with random weights, and its card."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from geotiler.models.bundle import Bundle
    from geotiler.models.card import ModelCard

# The same examples on every machine, however busy it is.
settings.register_profile("geotiler", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("geotiler")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `soak` run only where they are asked for, as `make soak` does."""
    if "soak" in config.option.markexpr:
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=soak)
    items[:] = [item for item in items if item not in soak]


def _card(**changes: Any) -> ModelCard:
    from geotiler.models.card import ClassInfo, ModelCard
    from geotiler.specs import Scale

    values: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "task": "segmentation",
        "description": "Random weights, for tests.",
        "library": "smp",
        "architecture": "Unet",
        "arguments": {
            "encoder_name": "mobilenet_v2",
            "encoder_depth": 3,
            "encoder_weights": None,
            "decoder_channels": [16, 8, 8],
            "in_channels": 3,
            "classes": 1,
        },
        "bands": ("red", "green", "blue"),
        "scale": Scale(minimum=0.0, maximum=255.0),
        "mean": (0.45, 0.5, 0.55),
        "std": (0.2, 0.25, 0.3),
        "gsd_m": 0.5,
        "tile_px": 128,
        "overlap_px": 32,
        "classes": (ClassInfo(id=1, name="building", color="#d7301f"),),
        "activation": "sigmoid",
        "threshold": 0.5,
        "licence": "Apache-2.0",
        "geotiler_version": "0.0.0",
        "files": {},
    }
    return ModelCard(**{**values, **changes})


@pytest.fixture(scope="session")
def make_card() -> Callable[..., ModelCard]:
    """A valid card with the given values changed."""
    return _card


@pytest.fixture(scope="session")
def make_network() -> Callable[[ModelCard], Any]:
    """The card's network with random weights whose probabilities spread from 0 to 1."""

    def make(card: ModelCard) -> Any:
        import torch

        from geotiler.models.build import build_network

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # statistics of the pass below depend on it, in the last digit
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            network = build_network(card.library, card.architecture, card.arguments).train()
            norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
            with torch.no_grad():
                network.segmentation_head[0].weight *= 3.0
                for norm in norms:
                    norm.momentum = 1.0  # one pass leaves statistics as training would
                network(torch.randn(2, len(card.bands), 64, 64))
        torch.set_num_threads(threads)
        return network.eval()

    return make


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory,
    make_network: Callable[[ModelCard], Any],
) -> Bundle:
    """A verified model folder, written once per session. Copy it before changing it."""
    from geotiler.models.bundle import open_bundle, write_bundle

    folder: Path = tmp_path_factory.mktemp("weights") / "tiny"
    card = _card()
    write_bundle(folder, card, make_network(card))
    return open_bundle(folder)


EUROSAT_CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)


def _landuse_card(**changes: Any) -> ModelCard:
    from geotiler.models.card import ClassInfo, Stretch

    values: dict[str, Any] = {
        "name": "tiny-landuse",
        "task": "classification",
        "library": "geotiler",
        "architecture": "simple_cnn",
        "arguments": {"num_classes": 10, "widths": [8, 8, 8]},
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "gsd_m": 10.0,
        "tile_px": 64,
        "overlap_px": 0,
        "input_px": 96,
        "stretch": Stretch(
            source="Sentinel-2 L1C",
            source_bands=(4, 3, 2),
            minimum=0.0,
            maximum=2750.0,
            low=1.0,
            high=255.0,
        ),
        "classes": tuple(
            ClassInfo(id=index, name=name, color=f"#{index * 20:02x}80{255 - index * 20:02x}")
            for index, name in enumerate(EUROSAT_CLASSES, start=1)
        ),
        "activation": "softmax",
    }
    return _card(**{**values, **changes})


@pytest.fixture(scope="session")
def make_landuse_card() -> Callable[..., ModelCard]:
    """A valid card of a classifier with the given values changed."""
    return _landuse_card


@pytest.fixture(scope="session")
def tiny_landuse(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A classifier's model folder with random weights whose answers differ from tile to tile.

    Written once per session. Copy it before changing it.
    """
    import torch

    from geotiler.models.build import build_network
    from geotiler.models.bundle import open_bundle, write_bundle

    folder: Path = tmp_path_factory.mktemp("weights") / "tiny-landuse"
    card = _landuse_card()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        network = build_network(card.library, card.architecture, card.arguments, card.input_px)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0  # one pass leaves statistics as training would
        colours = torch.randn(32, 3, 1, 1)
        network.train()(colours + 0.3 * torch.randn(32, 3, 64, 64))
        network.network.classifier[1].weight *= 20.0
    torch.set_num_threads(threads)
    write_bundle(folder, card, network.eval())
    return open_bundle(folder)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real imagery; tests that ask for it skip where there is none."""
    named = os.environ.get("GEOTILER_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no real data at {root}: GEOTILER_DATA names its folder")
    return root


@pytest.fixture(scope="session")
def landuse_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn tiles in the folders and with the lists of EuroSAT: 6, 2 and 2 of each class.

    A class is a colour and a direction of stripes.
    """
    import cv2
    import numpy as np

    root: Path = tmp_path_factory.mktemp("eurosat")
    random = np.random.default_rng(5)
    rows, cols = np.mgrid[:64, :64]
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(EUROSAT_CLASSES):
        (root / name).mkdir()
        colour = np.array([40 + 20 * label, 200 - 15 * label, 60 + 90 * (label % 2)])
        for index in range(10):
            phase = random.uniform(0, 6)
            stripes = 20 * np.sin((rows if label % 3 else cols) / 3 + phase)
            image = colour + stripes[..., None] + random.normal(0, 8, (64, 64, 3))
            tile = f"{name}_{index + 1}.jpg"
            cv2.imwrite(str(root / name / tile), np.clip(image, 0, 255).astype(np.uint8))
            lists["train" if index < 6 else "val" if index < 8 else "test"].append(tile)
    for part, names in lists.items():
        (root / f"eurosat-spatial-{part}.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture
def small_landuse_run(landuse_tiles: Path, tmp_path: Path) -> list[str]:
    """Overrides of a classifier's run that takes seconds."""
    return [
        f"data.root={landuse_tiles}",
        "model=simple_cnn",
        "++model.arguments.widths=[8,16,16]",
        "train.steps=8",
        "train.steps_per_epoch=4",
        "train.batch=16",
        "train.scheduler.warmup_steps=1",
        "train.ema_decay=0.5",
        "train.precision=32-true",
        f"output={tmp_path / 'run'}",
    ]


CHIP_GSD_M = 0.5
"""Ground sample distance of the chips below."""


@pytest.fixture(scope="session")
def chip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and two validation chips, 96 px, as images/, masks/ and split lists."""
    import cv2
    import numpy as np

    from geotiler.training.chips import rendered_chips
    from geotiler.training.config import RenderedConfig

    root = tmp_path_factory.mktemp("chips")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    names = []
    rendered = rendered_chips(
        RenderedConfig(chips=8, chip_px=96, gsd_m=[CHIP_GSD_M], first_seed=50)
    )
    for chip in rendered:
        labels = np.where(chip.labels == 1, np.uint8(255), np.uint8(0))
        cv2.imwrite(
            str(root / "images" / f"{chip.name}.png"), cv2.cvtColor(chip.image, cv2.COLOR_RGB2BGR)
        )
        cv2.imwrite(str(root / "masks" / f"{chip.name}.png"), labels)
        names.append(chip.name)
    (root / "train.txt").write_text("\n".join(names[:6]) + "\n")
    (root / "val.txt").write_text("\n".join(names[6:]) + "\n")
    return root


@pytest.fixture
def small_run(chip_folder: Path, tmp_path: Path) -> list[str]:
    """Overrides of a run that takes seconds."""
    return [
        f"data.root={chip_folder}",
        f"data.gsd_m={CHIP_GSD_M}",
        "data.rendered.share=0",
        "+model.arguments.encoder_depth=3",
        "model.arguments.decoder_channels=[16,8,8]",
        "model.stride_of_network=8",
        "train.steps=6",
        "train.steps_per_epoch=3",
        "train.batch=2",
        "train.crop_px=64",
        "train.workers=0",
        "train.scheduler.warmup_steps=1",
        "train.precision=32-true",
        f"output={tmp_path / 'run'}",
    ]


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many bytes, one per test, and tells its folder."""
    folder = tmp_path / "disk"

    def mounted(size_bytes: int) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted: {done.stderr.decode().strip()}")
        return folder

    yield mounted
    if folder.is_mount():
        # Lazily: a database client may have it open until the process ends.
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def make_product() -> Callable[..., Path]:
    """Writes a Sentinel-2 product as ESA lays it out, small: metadata and three bands as JPEG 2000.

    Arguments: folder; values (row, col, band) uint16 of B04, B03, B02; level "L1C" or "L2A";
    offset in the metadata, None for products from before 2022. Returns the product's metadata.
    """
    import numpy as np
    import rasterio
    from affine import Affine

    def make(folder: Path, values: Any, *, level: str = "L2A", offset: int | None = -1000) -> Path:
        date, tile = "20230601T100601", "T33UUP"
        root = folder / f"S2A_MSI{level}_{date}_N0509_R022_{tile}_20230601T120000.SAFE"
        granule = f"GRANULE/{level}_{tile}_A000000_{date}"
        inner, suffix = ("/R10m", "_10m") if level == "L2A" else ("", "")
        images = f"{granule}/IMG_DATA{inner}"
        (root / images).mkdir(parents=True)
        names = {band: f"{images}/{tile}_{date}_{band}{suffix}" for band in ("B02", "B03", "B04")}
        height, width = values.shape[:2]
        for index, band in enumerate(("B04", "B03", "B02")):
            with rasterio.open(
                root / f"{names[band]}.jp2", "w", driver="JP2OpenJPEG", width=width,
                height=height, count=1, dtype="uint16", crs="EPSG:32633", QUALITY="100",
                transform=Affine(10, 0, 300_000, 0, -10, 5_400_000), REVERSIBLE="YES",
                BLOCKXSIZE="128", BLOCKYSIZE="128",
            ) as file:  # fmt: skip
                file.write(np.ascontiguousarray(values[:, :, index]), 1)
        kind, word = ("2A", "BOA") if level == "L2A" else ("1C", "RADIO")
        offsets = "".join(
            f'<{word}_ADD_OFFSET band_id="{band}">{offset}</{word}_ADD_OFFSET>'
            for band in range(13 if offset is not None else 0)
        )
        # Products of level 1C name their bands by a prefix that ends in B and two digits.
        listed = "".join(f"<IMAGE_FILE>{name}</IMAGE_FILE>" for name in names.values())
        holder = {"BOA": "BOA_ADD_OFFSET_VALUES_LIST", "RADIO": "Radiometric_Offset_List"}[word]
        (root / f"MTD_MSI{level}.xml").write_text(
            f'<n1:Level-{kind}_User_Product xmlns:n1="https://example.org/'
            f'User_Product_Level-{kind}.xsd">'
            f"<n1:General_Info><Product_Info><PRODUCT_URI>{root.name}</PRODUCT_URI>"
            "<Product_Organisation><Granule_List>"
            f'<Granule granuleIdentifier="x">{listed}</Granule>'
            "</Granule_List></Product_Organisation><Query_Options>"
            "<PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options></Product_Info>"
            "<Product_Image_Characteristics><Special_Values>"
            "<SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>"
            "<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>"
            f"<{holder}>{offsets}</{holder}></Product_Image_Characteristics>"
            f"</n1:General_Info></n1:Level-{kind}_User_Product>"
        )
        places = "".join(
            f'<Size resolution="{size}"><NROWS>{height * 10 // size}</NROWS>'
            f"<NCOLS>{width * 10 // size}</NCOLS></Size>"
            f'<Geoposition resolution="{size}"><ULX>300000</ULX><ULY>5400000</ULY>'
            f"<XDIM>{size}</XDIM><YDIM>-{size}</YDIM></Geoposition>"
            for size in (10, 20, 60)
        )
        (root / granule / "MTD_TL.xml").write_text(
            f'<n1:Level-{kind}_Tile_ID xmlns:n1="https://example.org/{kind}"><n1:Geometric_Info>'
            "<Tile_Geocoding><HORIZONTAL_CS_CODE>EPSG:32633</HORIZONTAL_CS_CODE>"
            f"{places}</Tile_Geocoding></n1:Geometric_Info></n1:Level-{kind}_Tile_ID>"
        )
        return root / f"MTD_MSI{level}.xml"

    return make


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 on this machine, looked at without what geotiler looks with."""

    endpoint: str
    name: str
    can_refuse: bool
    """A server of our own, which can be told to: see `s3_server.py`."""

    @property
    def address(self) -> str:
        """What outputs in it begin with."""
        return f"s3://{self.name}"

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
        """What the server answers."""
        # By nobody: a server for tests does not compute it.
        scope = "test/20260101/us-east-1/s3/aws4_request"
        words = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
        signed = {"Authorization": words, "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.endpoint}/{path}", body, signed, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read())

    @property
    def keys(self) -> list[str]:
        """Names of all objects."""
        listed = ElementTree.fromstring(self.ask(f"{self.name}?list-type=2"))
        return [each.text or "" for each in listed.findall(".//{*}Key")]

    @property
    def objects(self) -> dict[str, bytes]:
        """All objects."""
        return {key: self.ask(f"{self.name}/{quote(key)}") for key in self.keys}


@pytest.fixture(scope="session", params=["stand-in", pytest.param("moto", marks=pytest.mark.slow)])
def s3_endpoint(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """An S3 of our own, and moto's where it is installed (it cannot be beside the tested set)."""
    if request.param == "moto":
        program = shutil.which("moto_server")
        if program is None:
            pytest.skip("moto_server is not on the PATH")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = [program, "-H", "127.0.0.1", "-p", str(port)]
    else:
        words = [sys.executable, str(Path(__file__).with_name("s3_server.py"))]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as server:
        try:
            if request.param == "moto":
                for _ in range(300):
                    with contextlib.suppress(OSError):
                        socket.create_connection(("127.0.0.1", port), 1).close()
                        break
                    if server.poll() is not None:
                        pytest.skip("moto_server is on the PATH, but does not run")
                    time.sleep(0.1)
            else:
                assert server.stdout is not None
                port = int(server.stdout.readline())
            yield f"http://127.0.0.1:{port}", request.param
        finally:
            server.kill()


@pytest.fixture
def bucket(s3_endpoint: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket that this process, and those it starts, have keys for."""
    pytest.importorskip("obstore", reason="the extra remote is not installed")
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint[0])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "Tops3cret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    from geotiler.io import object_store

    object_store._opened.cache_clear()  # it was opened with the settings of another test
    made = Bucket(
        endpoint=s3_endpoint[0],
        name=f"bucket-{uuid.uuid4().hex[:8]}",
        can_refuse=s3_endpoint[1] == "stand-in",
    )
    made.ask(made.name, "PUT")
    return made
