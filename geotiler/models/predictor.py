"""What runs a network: one protocol, and the choice among torch, ONNX Runtime and OpenVINO.

On a CPU the graph is run by OpenVINO or ONNX Runtime, which are faster than torch and start
without importing it; a GPU is driven by torch.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import math
import platform
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geotiler.errors import DeviceError, MissingExtraError, ModelError, SpecError
from geotiler.machine import available_memory_bytes
from geotiler.models.bundle import Bundle
from geotiler.models.card import WEIGHTS_FILE, ModelCard
from geotiler.specs import Backend, Precision

Batch = NDArray[np.float32]
"""(N, C, H, W)."""

_PACKAGES = {Backend.TORCH: "torch", Backend.ONNX: "onnxruntime", Backend.OPENVINO: "openvino"}
_GPU_BATCH_PX = 8 * 512 * 512
_LEAST_BYTES_PER_PX = 70
"""Memory of a network per pixel of a batch on a CPU: three quarters of what the smallest one that
geotiler ships was measured to need. What this does not fit into, no network fits into."""
_NARROW = {("Unet", "mobilenet_v2")}
"""Architectures and encoders of which hardly anything is left that is large, as measured: 16
channels are kept at half the resolution, where a ResNet keeps 64; all else there is computed in
turns."""
_EXTERNAL_DATA = b"\n\x08location"  # the key of a tensor's file, as protobuf writes it
_NVIDIA_DRIVER = (
    Path("/proc/driver/nvidia/version"),
    Path("/dev/nvidiactl"),
    Path("/dev/dxg"),  # Windows Subsystem for Linux
    Path("C:/Windows/System32/nvcuda.dll"),
)


class Predictor(Protocol):
    """A network of one fixed input shape. One call at a time: it is not for sharing by threads."""

    name: str
    """What runs it, with version and precision: whatever can change the answer."""
    classes: int
    """K."""
    batch: int
    """Tiles of one forward pass; fewer may be given, and are padded to as many."""
    tile_shape: tuple[int, int]
    """(H, W)."""

    def __call__(self, batch: Batch) -> Batch:
        """Probabilities (N, K, H, W), float32, of N ≤ `batch` tiles (N, C, H, W), float32.

        A classifier answers (N, K).
        The answer for a tile does not depend on how many others are given with it, and lies in
        memory of its own: the batch may be overwritten afterwards.

        Raises:
            SpecError: the array has another shape or dtype.
            ModelError: an answer is NaN or infinite.
            DeviceError: the device's memory is too small.
        """
        ...


class FixedShapePredictor:
    """What all implementations of `Predictor` share: one shape, short batches filled up."""

    failures: tuple[type[Exception], ...] = (RuntimeError,)
    """What the library raises where memory is too small: nothing else can go wrong with a shape
    that was compiled or tried before."""

    def __init__(self, card: ModelCard, name: str, batch: int, tile_shape: tuple[int, int]) -> None:
        """Args: name, batch, tile_shape: see `Predictor`."""
        self.card = card
        self.name = name
        self.classes = card.channels
        self.batch = batch
        self.tile_shape = tile_shape

    def __call__(self, batch: Batch) -> Batch:
        """See `Predictor.__call__`."""
        full = padded(batch, self.card, self.batch, self.tile_shape)
        try:
            answers = self.answers(full, len(batch))
        except self.failures as error:
            raise self.device_error(error) from error
        self.check_finite(bool(np.isfinite(answers.sum())))  # one pass without a temporary array
        return answers

    def device_error(self, error: Exception) -> DeviceError:
        """What is told where the library raises."""
        shape = (self.batch, len(self.card.bands), *self.tile_shape)
        return DeviceError(
            f"{self.name} fails on a batch of shape {shape}: {one_line(error)}",
            hint="try --batch 1 or a smaller --tile",
        )

    def check_finite(self, is_finite: bool) -> None:
        """Raises: ModelError: the network's answers are not all finite."""
        if is_finite:
            return
        # float16 ends at 65,504, which a network may exceed between its layers.
        narrow = " float16" in self.name
        raise ModelError(
            f"model {self.card.name} answers with what is no number (NaN or infinity)",
            hint="try --precision float32"
            if narrow
            else "its weights are damaged, or its training went astray",
        )

    def answers(self, full: Batch, count: int) -> Batch:
        """Probabilities of the first `count` tiles of a full batch; an array of its own."""
        raise NotImplementedError


def open_predictor(
    bundle: Bundle,
    *,
    backend: Backend = Backend.AUTO,
    device: str = "auto",
    precision: Precision = Precision.AUTO,
    batch: int | None = None,
    tile_shape: tuple[int, int] | None = None,
    threads: int | None = None,
) -> Predictor:
    """A predictor for a model, compiled and ready.

    Args:
        bundle: the model.
        backend: AUTO takes OpenVINO, else ONNX Runtime, else torch on a CPU; torch on a GPU.
        device: auto, cpu, cuda, cuda:N or mps; auto takes a GPU that torch can use.
        precision: of the network's sums and products; AUTO is float32 on a CPU, half on a GPU.
        batch: tiles per forward pass; None is 1 on a CPU and fills a GPU moderately.
        tile_shape: (H, W), multiples of the network's stride; None takes the card's tile.
        threads: threads of the network; None is all cores.

    Raises:
        ModelError: the model's files do not fit its card.
        DeviceError: the device is not there, or the backend cannot drive it, or not in that
            precision.
        MissingExtraError: the backend is not installed.
        SpecError: a tile shape or batch that the network cannot take.
    """
    shape = tile_shape or (bundle.card.tile_px, bundle.card.tile_px)
    _check_shape(shape, batch, bundle.card)
    device = _resolved_device(device, backend)
    precision = _on_device(precision, device)
    backend = _resolved_backend(bundle, backend, device)
    if device == "cpu":
        batch = batch or 1
        _check_memory(shape, batch)
    batch = batch or max(1, min(16, _GPU_BATCH_PX // (shape[0] * shape[1])))
    try:
        make = _constructor(backend, device)
    except ImportError as error:  # installed, but not for this machine
        raise MissingExtraError(_PACKAGES[backend], f"--backend {backend.value}") from error
    return make(bundle, precision=precision, batch=batch, tile_shape=shape, threads=threads)


def largest_tile_px(bundle: Bundle, backend: Backend, device: str, batch: int | None = None) -> int:
    """Most pixels of a tile that is fitted to a scene, which bounds the memory of a run.

    Fewer and larger tiles leave less to the places where they meet. Of the backends for CPUs only
    OpenVINO computes what needs most memory in turns, which leaves little of the networks that keep
    few channels at a high resolution.

    Raises:
        DeviceError, MissingExtraError, SpecError: as `open_predictor` for a device.
    """
    has_graph = bundle.onnx_file in bundle.card.files and _installed(Backend.OPENVINO)
    is_openvino = has_graph and backend in (Backend.AUTO, Backend.OPENVINO)
    if _resolved_device(device, backend) != "cpu":
        return 2_600_000
    if not is_openvino:
        return 1_500_000
    kind = (bundle.card.architecture, bundle.card.arguments.get("encoder_name"))
    return 3_800_000 if kind in _NARROW and batch in (None, 1) else 2_600_000


def used_precision(precision: Precision, backend: Backend, device: str) -> Precision:
    """The precision that `open_predictor` computes in, never AUTO; opens nothing.

    Raises:
        DeviceError, MissingExtraError, SpecError: as `open_predictor` for a device.
    """
    if precision is not Precision.AUTO:
        return precision
    return _on_device(precision, _resolved_device(device, backend))


def _on_device(precision: Precision, device: str) -> Precision:
    """What AUTO means on a device.

    On GPUs float16, eight times as fine as bfloat16: of real tiles, tried on a CPU, 0.007 % of the
    pixels changed class against float32, with bfloat16 0.14 %.
    """
    if precision is not Precision.AUTO:
        return precision
    return Precision.FLOAT32 if device == "cpu" else Precision.FLOAT16


def _constructor(backend: Backend, device: str) -> Callable[..., Predictor]:
    """What makes the backend's predictor; only its own library is imported."""
    if backend is Backend.OPENVINO:
        from geotiler.models.openvino_predictor import OpenVinoPredictor

        return OpenVinoPredictor
    if backend is Backend.ONNX:
        from geotiler.models.onnx_predictor import OnnxPredictor

        return OnnxPredictor
    from geotiler.models.torch_predictor import TorchPredictor

    return functools.partial(TorchPredictor, device=device)


def padded(batch: Batch, card: ModelCard, size: int, tile_shape: tuple[int, int]) -> Batch:
    """The batch filled up to `size` tiles with copies of its first one.

    Raises:
        SpecError: the array is not (1 to size, C, H, W) of float32.
    """
    expected = (len(card.bands), *tile_shape)
    if not isinstance(batch, np.ndarray) or batch.dtype != np.float32:
        kind = getattr(batch, "dtype", type(batch).__name__)
        raise SpecError(f"a batch must be a float32 array, got {kind}")
    if batch.ndim != 4 or batch.shape[1:] != expected or not 1 <= batch.shape[0] <= size:
        wanted = "(1 to {}, {}, {}, {})".format(size, *expected)
        raise SpecError(f"a batch for {card.name} must have shape {wanted}, got {batch.shape}")
    missing = size - batch.shape[0]
    if missing:
        batch = np.concatenate([batch, np.broadcast_to(batch[:1], (missing, *expected))])
    return np.ascontiguousarray(batch)


def graph_bytes(bundle: Bundle) -> bytes:
    """The bytes of a model's ONNX graph, which holds all of its weights itself.

    Raises:
        ModelError: missing or changed, or weights in other files, which no digest covers.
    """
    content = bundle.read(bundle.onnx_file)
    if _EXTERNAL_DATA in content:
        raise ModelError(
            f"{bundle.folder / bundle.onnx_file} keeps weights in other files",
            hint="save the graph with its weights inside",
        )
    return content


def checked_graph(card: ModelCard, inputs: list[Any], outputs: list[Any], source: str) -> None:
    """Raises: ModelError: a graph that does not take the card's bands or give its classes.

    Args: inputs, outputs: the shapes of each input and output; a free dimension is no int.
    """
    rank = 4 if card.task == "segmentation" else 2
    for what, shapes, size, dims in (
        ("takes", inputs, len(card.bands), 4),
        ("gives", outputs, card.channels, rank),
    ):
        fits = len(shapes) == 1 and len(shapes[0]) == dims and shapes[0][1] == size
        if not fits:
            raise ModelError(
                f"{source} does not fit its card: it {what} {shapes}, expected one array of "
                f"{dims} dimensions with {size} channels"
            )


def graph_runner(content: bytes) -> Callable[[Batch], Batch]:
    """A function that runs an ONNX graph at any shape, with the runtime that is installed.

    Raises:
        MissingExtraError: neither ONNX Runtime nor OpenVINO is installed.
    """
    if importlib.util.find_spec("onnxruntime") is not None:
        from geotiler.models.onnx_predictor import run_graph as run_onnx

        return run_onnx(content)
    if importlib.util.find_spec("openvino") is not None:
        from geotiler.models.openvino_predictor import run_graph as run_openvino

        return run_openvino(content)
    raise MissingExtraError("onnxruntime", "checking an exported model")


def no_such_precision(what: str, precision: Precision, known: Sequence[str]) -> DeviceError:
    """The error that says which precisions something computes in."""
    return DeviceError(
        f"{what} does not compute in {precision.value}, only in {' and '.join(known)}",
        hint=f"--precision {known[0]}",
    )


def one_line(error: Exception) -> str:
    """The beginning of what a library says, for a message."""
    return " ".join(str(error).split())[:200]


def _check_shape(shape: tuple[int, int], batch: int | None, card: ModelCard) -> None:
    stride = card.stride_of_network
    for side in shape:
        if side < stride or side % stride:
            raise SpecError(
                f"`tile_px` must be multiples of {stride} for {card.name}, got {side}",
                hint=f"try --tile {max(stride, math.ceil(side / stride) * stride)}",
            )
    if batch is not None and not 1 <= batch <= 4096:
        raise SpecError(f"`batch` must be 1 to 4096, got {batch}", hint="try --batch 4")


def _check_memory(shape: tuple[int, int], batch: int) -> None:
    """Raises: DeviceError: such a batch cannot be computed in the memory that there is.

    Libraries and systems find that out late, and end the process rather than the call.
    """
    needed_bytes = batch * shape[0] * shape[1] * _LEAST_BYTES_PER_PX
    available_bytes = available_memory_bytes()
    if needed_bytes > available_bytes:
        raise DeviceError(
            f"tiles of {shape[0]} × {shape[1]} px in batches of {batch} need at least "
            f"{needed_bytes / 1e9:,.1f} GB of memory, {available_bytes / 1e9:,.1f} GB are free",
            hint="try --tile 1024 --batch 1, or leave --tile out to have one chosen",
        )


def _resolved_device(device: str, backend: Backend) -> str:
    """cpu, cuda:N or mps, known to be there."""
    if device == "cpu":
        return device
    if device != "auto" and re.fullmatch(r"mps|cuda(:\d{1,3})?", device) is None:
        raise SpecError(
            f"`device` must be auto, cpu, cuda, cuda:N or mps, got {device!r}",
            hint="try --device cpu",
        )
    graph_only = backend in (Backend.ONNX, Backend.OPENVINO)
    if device == "auto":
        if graph_only or (backend is Backend.AUTO and not _gpu_is_likely()):
            return "cpu"
    elif graph_only:
        raise DeviceError(
            f"backend {backend.value} runs on cpu only, asked for {device}",
            hint="--backend torch drives GPUs; or --device cpu",
        )
    if importlib.util.find_spec("torch") is None:
        if device == "auto":
            return "cpu"
        raise MissingExtraError("torch", f"--device {device}")
    from geotiler.models.torch_predictor import available_device

    return available_device(device)


@functools.cache  # it does not change, and a service asks it for every scene
def _gpu_is_likely() -> bool:
    """True if it is worth importing torch, which takes a second, to ask it about a GPU."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return not version.endswith("+cpu") and any(path.exists() for path in _NVIDIA_DRIVER)


def _resolved_backend(bundle: Bundle, backend: Backend, device: str) -> Backend:
    if backend is Backend.AUTO and device != "cpu":
        backend = Backend.TORCH
    if backend is Backend.AUTO:
        has_graph = bundle.onnx_file in bundle.card.files
        order = (Backend.OPENVINO, Backend.ONNX) if has_graph else ()
        backend = next((known for known in order if _installed(known)), Backend.TORCH)
    if not _installed(backend):
        raise MissingExtraError(_PACKAGES[backend], f"--backend {backend.value}")
    wanted = WEIGHTS_FILE if backend is Backend.TORCH else bundle.onnx_file
    if wanted not in bundle.card.files:
        raise ModelError(
            f"model {bundle.card.name} has no {wanted}, which backend {backend.value} needs",
            hint="try another --backend",
        )
    return backend


def _installed(backend: Backend) -> bool:
    return importlib.util.find_spec(_PACKAGES[backend]) is not None
