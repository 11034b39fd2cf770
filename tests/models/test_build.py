"""Networks by name, without a download; encoders from a file, without a doubt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from geotiler.errors import ModelError
from geotiler.models.build import build_network, load_encoder, stored_bytes, tensors_of

SLIM = {"encoder_name": "mobilenet_v2", "encoder_depth": 3, "decoder_channels": [16, 8, 8]}


def test_networks_answer_logits() -> None:
    tiles = torch.randn(2, 3, 64, 64)
    network = build_network("smp", "Unet", {**SLIM, "classes": 2}).eval()
    with torch.inference_mode():
        assert network(tiles).shape == (2, 2, 64, 64)
        assert network(tiles).min() < 0  # not probabilities
        classifier = build_network("torchvision", "resnet18", {"num_classes": 5}).eval()
        assert classifier(tiles).shape == (2, 5)
        baseline = build_network("geotiler", "simple_cnn", {"num_classes": 7}).eval()
        assert baseline(tiles).shape == (2, 7)


def test_the_resize_is_the_networks_own() -> None:
    """A network at its input size answers for a tile what the bare one answers for it resized."""
    resized = build_network("geotiler", "simple_cnn", {"num_classes": 4}, 96).eval()
    tiles = torch.randn(3, 3, 64, 64)
    larger = torch.nn.functional.interpolate(tiles, (96, 96), mode="bilinear")
    with torch.inference_mode():
        assert torch.equal(resized(tiles), resized.network(larger))
        assert torch.equal(resized(larger), resized.network(larger))
        assert not torch.allclose(resized(tiles), resized.network(tiles))


@pytest.mark.parametrize(
    ("library", "architecture", "arguments", "message"),
    [
        ("smp", "Unnet", {}, "Unet"),
        ("smp", "encoders", {}, "unknown architecture"),
        ("smp", "Unet", {"encoder_name": "mobilenet_v22"}, "mobilenet_v2"),
        ("smp", "Unet", {"encoder_weights": "imagenet"}, "encoder_weights"),
        ("smp", "Unet", {"aux_params": {"classes": 2}}, "aux_params"),
        ("smp", "Unet", {**SLIM, "encoder_depth": 9}, "cannot be built"),
        ("smp", "Unet", {"encoder_name": "tu-no_such_thing"}, "cannot be built"),
        ("torchvision", "resnet19", {}, "resnet18"),
        ("torchvision", "resnet18", {"weights": "DEFAULT"}, "weights"),
        ("timm", "resnet18", {}, "smp"),
        ("geotiler", "simple_cn", {}, "simple_cnn"),
        ("geotiler", "simple_cnn", {"depth": 3}, "cannot be built"),
    ],
)
def test_what_cannot_be_built(
    library: str, architecture: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build_network(library, architecture, arguments)


def test_an_encoder_is_filled_exactly_from_float16(tmp_path: Path) -> None:
    source, target = (build_network("smp", "Unet", SLIM) for _ in range(2))
    halved = {
        name: tensor.half() if tensor.ndim == 4 else tensor
        for name, tensor in source.encoder.state_dict().items()
    }
    path = tmp_path / "encoder.safetensors"
    save_file(halved, path)
    load_encoder(target, path)
    for name, tensor in target.encoder.state_dict().items():
        assert tensor.dtype in (torch.float32, torch.int64)
        assert torch.equal(tensor, halved[name].to(tensor.dtype))
    del halved["features.0.0.weight"]
    save_file(halved, path)
    with pytest.raises(ModelError, match=r"features\.0\.0\.weight"):
        load_encoder(target, path)
    for content in (b"", b"x" * 100, b"\xff" * 8 + b"{}"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="safetensors"):
            load_encoder(target, path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_encoder(target, tmp_path / "nothing")
    with pytest.raises(ModelError, match="no encoder"):
        load_encoder(torch.nn.Conv2d(1, 1, 1), path)


def test_small_variances_survive_storage() -> None:
    norm = torch.nn.BatchNorm2d(4)
    norm.running_var.fill_(1e-9)  # 0 as float16
    assert tensors_of(stored_bytes(norm), "bytes")["running_var"].min() > 0
