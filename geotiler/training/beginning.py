"""What is settled before a run of either kind begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from geotiler.errors import SpecError
from geotiler.models.card import ModelCard
from geotiler.training.classification_config import ClassifierConfig
from geotiler.training.config import FitConfig, ModelConfig


def refuse(rules: Iterable[tuple[bool, str, object]], *, example_lr: str) -> None:
    """Refuse settings that would stop a run later, with worse words.

    Args:
        rules: (it holds, what must be, what is).
        example_lr: learning rate of the hint's example.

    Raises:
        SpecError: a rule does not hold.
    """
    for holds, what, got in rules:
        if not holds:
            raise SpecError(
                f"{what}, got {got}", hint=f"overrides look like train.optimizer.lr={example_lr}"
            )


def check_norm_eval(train: FitConfig, *, has_start: bool) -> None:
    """Raises: SpecError: statistics are to be kept, and there are none to begin with."""
    if train.norm_eval and not has_start:
        raise SpecError(
            "train.norm_eval=true keeps the statistics of finished weights, as train=finetune asks "
            "for, and none are named",
            hint="init=MODEL names them; train.norm_eval=false learns from the start",
        )


def take_over(
    model: ModelConfig | ClassifierConfig, card: ModelCard, *, head: str, own: Sequence[str]
) -> None:
    """Enter into a configuration what the weights that a run starts from were made with.

    Another normalisation, for instance, would undo them.

    Args:
        model: to be changed.
        card: of the model that the run starts from.
        head: argument of its network that says how many classes it tells apart.
        own: what the run itself learns from, if `model` does not say.
    """
    model.library, model.architecture = card.library, card.architecture
    model.arguments = {key: value for key, value in card.arguments.items() if key != head}
    model.mean, model.std = list(card.mean), list(card.std)
    model.training_data = list(dict.fromkeys([*card.training_data, *(model.training_data or own)]))
    model.credits = list(dict.fromkeys([*card.credits, *model.credits]))
