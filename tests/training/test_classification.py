"""Scores of classifiers, and what they start from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from sklearn import metrics

from geotiler.errors import ModelError
from geotiler.models.build import build_network
from geotiler.training.classification import Scores, build_classifier
from geotiler.training.compose import compose


@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40),
)
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, found = (np.array(side) for side in zip(*pairs, strict=True))
    labels = range(4)
    confusion = metrics.confusion_matrix(true, found, labels=labels)
    scores = Scores.of(torch.from_numpy(confusion))
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(true, found))
    options = {"labels": labels, "average": None, "zero_division": 0}
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(true, found, **options).mean())
    np.testing.assert_allclose(scores.recall, metrics.recall_score(true, found, **options))
    np.testing.assert_array_equal(scores.confusion, confusion)


def _config(path: object, architecture: str = "mobilenet_v2") -> object:
    return compose("landuse", [f"model.weights={path}", f"model.architecture={architecture}"])


def test_weights_fill_all_but_the_head(tmp_path: object) -> None:
    source = build_network("torchvision", "mobilenet_v2", {"num_classes": 3})
    features = {k: v for k, v in source.state_dict().items() if k.startswith("features.")}
    path = f"{tmp_path}/start.safetensors"
    save_file({k: v.half() if v.ndim == 4 else v for k, v in features.items()}, path)
    built = build_classifier(_config(path)).network.state_dict()
    for key, value in features.items():
        expected = value.half().float() if value.ndim == 4 else value
        torch.testing.assert_close(built[key], expected, rtol=0, atol=0)
    assert built["classifier.1.weight"].shape[0] == 10
    with pytest.raises(ModelError, match="does not fit ResNet"):
        build_classifier(_config(path, "resnet18"))


def test_weights_with_another_head_fit_too(tmp_path: object) -> None:
    source = build_network("torchvision", "mobilenet_v2", {"num_classes": 1000})
    path = f"{tmp_path}/start.safetensors"
    save_file(source.state_dict(), path)
    built = build_classifier(_config(path)).network.state_dict()
    assert torch.equal(built["features.0.0.weight"], source.state_dict()["features.0.0.weight"])
