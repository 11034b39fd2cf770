"""Networks by name, from segmentation-models-pytorch, torchvision and here; nothing is fetched."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geotiler.errors import ModelError
from geotiler.models import vision
from geotiler.models.classifiers import AtInputSize, SimpleCnn

# Without DPT, PSPNet and UPerNet, which pool to fixed grids and have no graph with free sizes.
_SMP_ARCHITECTURES = (
    "DeepLabV3",
    "DeepLabV3Plus",
    "FPN",
    "Linknet",
    "MAnet",
    "PAN",
    "Segformer",
    "Unet",
    "UnetPlusPlus",
)
_OWN_ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"simple_cnn": SimpleCnn}
_CHANGES_THE_ANSWER = ("activation", "aux_params")


def build_network(
    library: str, architecture: str, arguments: dict[str, Any], input_px: int | None = None
) -> nn.Module:
    """A network with random weights, in training mode, that answers logits.

    Args:
        library: "smp" (answers (N, K, H, W)), "torchvision" or "geotiler" (classifiers, which
            answer (N, K)).
        architecture: name in that library, as "Unet", "resnet18" or "simple_cnn".
        arguments: keyword arguments of the architecture; weights are never fetched.
        input_px: of a classifier: tiles are resized to this height and width on their way in.

    Raises:
        ModelError: unknown library, architecture or encoder, or arguments that do not fit.
    """
    if library == "smp":
        make, fixed = _smp_architecture(architecture, arguments)
    elif library == "torchvision":
        make, fixed = _torchvision_architecture(architecture)
    elif library == "geotiler":
        make, fixed = _own_architecture(architecture)
    else:
        raise _unknown("model library", library, ("smp", "torchvision", "geotiler"))
    for key in (*_CHANGES_THE_ANSWER, "weights", "encoder_weights"):
        if arguments.get(key):
            raise ModelError(
                f"argument {key} of {architecture} must be left out, got {arguments[key]!r}",
                hint="networks answer logits, and their weights come from a file",
            )
    try:
        network: nn.Module = make(**{**arguments, **fixed})
    except Exception as error:  # whatever a library thinks of arguments that do not fit
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{architecture} cannot be built from its arguments: {reason}") from error
    return network if input_px is None else AtInputSize(network, input_px)


def load_encoder(network: nn.Module, path: Path) -> None:
    """Fill the encoder of a network from a safetensors file, float16 becoming float32.

    Raises:
        ModelError: no such file, not safetensors, no encoder, or tensors that do not fit exactly.
    """
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ModelError(f"{type(network).__name__} has no encoder to load {path} into")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(
            f"encoder weights {path} cannot be read: {error.strerror}",
            hint="model.encoder_weights takes the path of a safetensors file",
        ) from error
    fill(encoder, tensors_of(content, str(path)), str(path))


def tensors_of(content: bytes, source: str) -> dict[str, torch.Tensor]:
    """The named tensors of a safetensors file's bytes, floating ones as float32.

    Raises:
        ModelError: the bytes are not safetensors, or a value is not finite.
    """
    import safetensors
    import safetensors.torch

    try:
        stored = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{source} is not a valid safetensors file: {error}") from error
    tensors = {}
    for name, tensor in stored.items():
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
            if not bool(torch.isfinite(tensor).all()):
                raise ModelError(f"{source}: tensor {name} holds values that are not finite")
        tensors[name] = tensor
    return tensors


def fill(network: nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Copy tensors into a network; all names and shapes must be the same.

    Raises:
        ModelError: a tensor is missing, left over, or of another shape.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for what, names in (
        ("lacks", wanted.keys() - given.keys()),
        ("does not know", given.keys() - wanted.keys()),
    ):
        if names:
            subject, verb = (source, "lacks") if what == "lacks" else ("the network", what)
            raise ModelError(
                f"{source} does not fit the network: {subject} {verb} "
                f"{len(names)} tensors, the first is {min(names)}"
            )
    for name, shape in sorted(wanted.items()):
        if given[name] != shape:
            raise ModelError(
                f"{source} does not fit the network: {name} has shape {given[name]}, "
                f"expected {shape}"
            )
    network.load_state_dict(tensors, strict=True)


def stored_bytes(network: nn.Module) -> bytes:
    """A network's weights as safetensors: two or more dimensions as float16, the rest as it is.

    Vectors stay float32: they are small, and variances leave the range of float16.

    Raises:
        ModelError: a weight is not finite as float16.
    """
    import safetensors.torch

    tensors = {}
    for name, tensor in network.state_dict().items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float16 if tensor.ndim >= 2 else torch.float32)
            if not bool(torch.isfinite(tensor).all()):
                raise ModelError(f"tensor {name} cannot be stored: not finite as {tensor.dtype}")
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
    return safetensors.torch.save(tensors)


def _smp_architecture(
    name: str, arguments: dict[str, Any]
) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    smp = vision.segmentation_models()
    if name not in _SMP_ARCHITECTURES:
        raise _unknown("architecture", name, _SMP_ARCHITECTURES)
    encoder = str(arguments.get("encoder_name", "resnet34"))
    known = smp.encoders.encoders
    if encoder not in known and not encoder.startswith("tu-"):
        raise _unknown("encoder", encoder, known)
    make = getattr(smp, name)
    # Its constructors swallow keywords they do not know, for the sake of timm's encoders.
    strange = arguments.keys() - inspect.signature(make).parameters.keys()
    if strange and not encoder.startswith("tu-"):
        raise ModelError(f"{name} has no argument {min(strange)!r}")
    return make, {"encoder_weights": None}


def _torchvision_architecture(name: str) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    models = vision.torchvision().models
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("architecture", name, known)
    return models.get_model_builder(name), {"weights": None}


def _own_architecture(name: str) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    if name not in _OWN_ARCHITECTURES:
        raise _unknown("architecture", name, _OWN_ARCHITECTURES)
    return _OWN_ARCHITECTURES[name], {}


def _unknown(kind: str, name: str, known: Iterable[str]) -> ModelError:
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.5) or sorted(known)[:12]
    return ModelError(
        f"unknown {kind} {name!r}", hint=f"known are, among others: {', '.join(near)}"
    )
