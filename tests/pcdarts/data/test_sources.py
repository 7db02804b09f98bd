"""Data sets that are built in."""

import torch

from pcdarts.data.sources import make_synthetic


def test_synthetic_images_can_be_learned():
    (images, labels), test = make_synthetic(320, seed=0), make_synthetic(80, seed=1)
    assert labels.bincount().tolist() == [80] * 4

    def features(images):  # variation down and across, in a linear model
        grey = images.float().mean(dim=1) / 255
        down, across = grey.mean(dim=2).std(dim=1), grey.mean(dim=1).std(dim=1)
        return torch.stack([down, across, grey.std(dim=(1, 2))], dim=1)

    centers = torch.stack([features(images)[labels == label].mean(dim=0) for label in range(4)])
    found = torch.cdist(features(test.images), centers).argmin(dim=1)
    assert (found == test.labels).double().mean() > 0.7
