"""Chips to weights: data, augmentation, losses, Lightning modules, Hydra configuration."""
