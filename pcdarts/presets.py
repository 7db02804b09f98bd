"""Presets: complete configurations by name, for searches and for retraining.

`cifar10` and `imagenet` are the official settings.  `digits` and `fashion` are small ones for CPUs and first steps.
"""

from dataclasses import replace

from pcdarts.config import METHOD_FIELDS, RetrainConfig, SearchConfig


def cifar10() -> SearchConfig:
    """The official CIFAR-10 search: 50 epochs, batch 256, K = 4."""
    return SearchConfig(eigenvalue_batches=4)


def imagenet() -> SearchConfig:
    """The official ImageNet search: K = 2, on 10 % and 2.5 % of the images of every class, without color jitter."""
    return SearchConfig(
        dataset="imagenet",
        stem="imagenet",
        batch_size=1024,
        warmup_epochs=35,
        k=2,
        learning_rate=0.5,
        learning_rate_warmup_epochs=5,
        alpha_learning_rate=6e-3,
        alpha_gradient_clip=5.0,
        eigenvalue_every=1,  # every second of the 15 epochs with trained alpha would be too few for the eigenvalue rule
        eigenvalue_batches=4,
        validate_every=2,
        threads=8,
    )


def journal_reading() -> SearchConfig:
    """Our reading of the journal version on CIFAR-10: K = 8 with a side operation and spatial down-sampling.

    Its side operation, down-sampling factor and rates are not published in code; this follows its abstract.
    """
    return replace(cifar10(), **METHOD_FIELDS["journal-reading"])


def fashion() -> SearchConfig:
    """Fashion-MNIST with a small super-network."""
    return SearchConfig(
        dataset="fashion-mnist",
        batch_size=128,
        epochs=8,
        warmup_epochs=3,
        channels=8,
        layers=3,
        learning_rate=0.05,
        alpha_learning_rate=3e-3,
        spatial_stride=2,
    )


def digits() -> SearchConfig:
    """Scikit-learn's 1,797 digits, 8 x 8 pixels: a whole search in under a minute on one CPU."""
    return SearchConfig(
        dataset="digits",
        batch_size=64,
        epochs=12,
        warmup_epochs=4,
        channels=8,
        layers=3,
        learning_rate=0.05,
        alpha_learning_rate=1e-2,
        eigenvalue_every=12,
    )


def own() -> SearchConfig:
    """Own images in class folders, at 32 pixels: minutes on a CPU for a few thousand."""
    return SearchConfig(
        dataset="folder",
        image_size=32,
        batch_size=64,
        epochs=15,
        warmup_epochs=5,
        channels=8,
        layers=3,
        learning_rate=0.05,
        alpha_learning_rate=3e-3,
        spatial_stride=2,
        eigenvalue_every=15,
    )


def smoke() -> SearchConfig:
    """Synthetic images, a few seconds: for tests and for trying out a cluster."""
    return SearchConfig(
        dataset="synthetic",
        batch_size=32,
        epochs=2,
        warmup_epochs=1,
        channels=4,
        layers=3,
        k=2,
        learning_rate=0.05,
        alpha_learning_rate=1e-2,
        eigenvalue_every=0,  # it takes longer than all the training
    )


SEARCHES = {
    "demo": digits,
    "fashion": fashion,
    "own": own,
    "cifar10": cifar10,
    "imagenet": imagenet,
    "pc-darts-iclr": cifar10,
    "journal-reading": journal_reading,
    "smoke": smoke,
}
"""Search presets by name."""


def retrain_cifar10() -> RetrainConfig:
    """The official CIFAR-10 retraining: 600 epochs, C = 36, 20 cells.

    Unlike the official code, it holds out a tenth of the training images to select the epoch; `validation_portion = 0`
    trains on all.
    """
    return RetrainConfig(learning_rate_batch=96)


def retrain_cifar10_short() -> RetrainConfig:
    """CIFAR-10, not official: 100 epochs and C = 18, for less than a twentieth of the multiply-adds of `cifar10`.

    Its depth, data and augmentation are those of `cifar10`; drop-path is weaker, as the network is smaller.
    """
    return replace(retrain_cifar10(), epochs=100, channels=18, drop_path=0.1)


def retrain_imagenet() -> RetrainConfig:
    """The official ImageNet retraining, mobile setting: 250 epochs, C = 48, 14 cells.

    Unlike the official code, it holds out a tenth of the training images to select the epoch; `validation_portion = 0`
    trains on all.
    """
    return RetrainConfig(
        dataset="imagenet",
        stem="imagenet",
        batch_size=1024,
        epochs=250,
        channels=48,
        layers=14,
        learning_rate=0.5,
        learning_rate_batch=1024,
        schedule="linear",
        learning_rate_warmup_epochs=5,
        weight_decay=3e-5,
        drop_path=0.0,
        label_smoothing=0.1,
        cutout=0,
        threads=8,
    )


def retrain_imagenet_mobile_modern() -> RetrainConfig:
    """Not the official recipe: the mobile setting's network with a batch of 2048, cosine schedule, bf16 and an EMA.

    Its results are not comparable with published results of the official recipe.
    """
    return replace(retrain_imagenet(), batch_size=2048, schedule="cosine", precision="bf16", ema_decay=0.9999)


def retrain_fashion() -> RetrainConfig:
    """Fashion-MNIST: a small network that trains on a CPU."""
    return RetrainConfig(
        dataset="fashion-mnist",
        epochs=10,
        channels=8,
        layers=4,
        auxiliary_weight=0.0,
        drop_path=0.1,
        cutout=8,
    )


def retrain_digits() -> RetrainConfig:
    """Scikit-learn's digits: a small network, under a minute on one CPU."""
    return RetrainConfig(
        dataset="digits",
        batch_size=64,
        epochs=12,
        channels=16,
        layers=4,
        learning_rate=0.05,
        auxiliary_weight=0.0,
        drop_path=0.1,
        cutout=0,
    )


def retrain_own() -> RetrainConfig:
    """Own images in class folders, at 32 pixels: a small network that trains on a CPU."""
    return RetrainConfig(
        dataset="folder",
        image_size=32,
        batch_size=64,
        epochs=20,
        channels=16,
        layers=4,
        learning_rate=0.05,
        auxiliary_weight=0.0,
        drop_path=0.1,
        cutout=8,
    )


def retrain_smoke() -> RetrainConfig:
    """Synthetic images, a few seconds."""
    return RetrainConfig(
        dataset="synthetic",
        batch_size=32,
        epochs=2,
        channels=4,
        layers=3,
        auxiliary_weight=0.0,
        drop_path=0.1,
        cutout=0,
    )


RECIPES = {
    "cifar10": retrain_cifar10,
    "imagenet": retrain_imagenet,
    "cifar10-short": retrain_cifar10_short,
    "imagenet-mobile-modern": retrain_imagenet_mobile_modern,
    "fashion": retrain_fashion,
    "digits": retrain_digits,
    "own": retrain_own,
    "smoke": retrain_smoke,
}
"""Recipes of a retraining by name; `cifar10` and `imagenet` are the official ones."""
