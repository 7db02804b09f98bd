"""Configuration of a search.  Needs the standard library alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pcdarts.config.choices import Dataset, Flip, Rule
from pcdarts.config.fields import at_least, check_types, require
from pcdarts.config.identity import digest
from pcdarts.spaces import SpaceName

METHOD_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "journal-reading": {"k": 8, "side_operation": "conv_1x1", "spatial_stride": 2},
    "darts": {"k": 1, "edge_normalization": False},
    "darts-official": {
        "k": 1,
        "edge_normalization": False,
        "side_operation": "none",
        "spatial_stride": 1,
        "batch_size": 64,
        "learning_rate": 0.025,
        "learning_rate_min": 0.001,
        "learning_rate_warmup_epochs": 0,
        "warmup_epochs": 0,
        "alpha_learning_rate": 3e-4,
        "alpha_weight_decay": 1e-3,
        "alpha_gradient_clip": 0.0,
    },
}
"""Fields that a method sets, whatever values are given.  The side operation, down-sampling and rate of the journal
version are not published in code; ours follow its abstract.  Those of darts-official are the defaults of the search
script that Liu et al. published with "DARTS: Differentiable Architecture Search" (ICLR 2019), cnn/train_search.py in
github.com/quark0/darts."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Settings of a search.  Raises ValueError for settings that cannot work."""

    dataset: Dataset = "cifar10"
    """Data set: digits, fashion-mnist, mnist, kmnist, svhn, cifar10, cifar100, imagenet, synthetic, or own images:
    folder, a tree of image files, train/<class>/ and test/<class>/; arrays, a file NAME.npz."""
    data_dir: str = "data"
    """Folder of the data sets; for arrays the file. digits and synthetic do not use it."""
    image_size: int = 0
    """Side of the square that images are resized and cropped to, pixels. 0: their own size; imagenet: 224."""
    flip: Flip = "auto"
    """Flip training images horizontally at random: on, off, or auto, on except for digits, mnist, kmnist and svhn."""
    classes: int = 0
    """Own images: number of classes. Filled in from the images, as the next four fields are; 0 for other data sets."""
    image_channels: int = 0
    """Own images: channels."""
    image_height: int = 0
    """Own images: height of the network's input, pixels."""
    image_width: int = 0
    """Own images: width of the network's input, pixels."""
    data_fingerprint: str = ""
    """Number, shape and digest of the training and test images, where they are read from files; for own images it is
    part of the identity."""
    split_file: str = ""
    """ImageNet only: file that lists the images for weights and for alpha; empty: the built-in lists of 10 % and
    2.5 %."""
    train_portion: float = 0.5
    """Share of the training images used for the weights; the rest is the validation data for alpha and beta. No effect
    on imagenet, which is split by split_file or the built-in lists."""
    max_images: int = 0
    """Training images to use, the first in stored order, for quick trials; 0: all. No effect on imagenet."""
    batch_size: int = 256
    """Images per step, on weights and on alpha."""
    epochs: int = 50
    """Epochs of the search."""
    warmup_epochs: int = 15
    """Epochs at the start in which alpha and beta are frozen and only the weights are trained."""
    channels: int = 16
    """Channels C of the first cell; doubled at every reduction cell."""
    layers: int = 8
    """Cells of the super-network; the reduction cells are at layers // 3 and 2 * layers // 3."""
    stem: Literal["cifar", "imagenet"] = "cifar"
    """First layers: cifar keeps the resolution, imagenet reduces it by a factor of eight."""
    method: Literal["pcdarts", "journal-reading", "darts", "darts-official", "random"] = "pcdarts"
    """pcdarts: as the other fields say; journal-reading: our reading of the journal version; darts: pcdarts with k = 1
    and edge_normalization off, so DARTS's mixture with the optimizer settings of PC-DARTS; darts-official: also DARTS's
    own batch size, learning rates and warm-up; random: a random cell of the space, drawn from the seed, without
    training."""
    space: SpaceName = "darts"
    """Search space: darts, with eight operations on every edge, or s1 to s4 of RobustDARTS."""
    k: int = 4
    """Partial channel connections: C / k channels of a node enter the mixed operation, the others bypass it."""
    channel_sampling: Literal["shuffle", "random", "fixed"] = "shuffle"
    """Sampled channels: shuffle, the first ones with a channel shuffle after every node; random, a new random subset
    for every node and forward pass; fixed, always the first ones."""
    edge_normalization: bool = True
    """Weight the edges that enter a node by softmax(beta). Off: they are summed, and ranked by alpha alone."""
    side_operation: Literal["none", "conv_1x1", "conv_1x1_part", "depthwise_3x3"] = "none"
    """Operation on the bypassed channels: none; conv_1x1 (ReLU, 1x1 convolution, batch norm); conv_1x1_part (1x1
    convolution and batch norm on a quarter of all channels, the first that bypass; the rest unchanged); depthwise_3x3
    (ReLU, depthwise 3x3 convolution, batch norm)."""
    spatial_stride: Literal[1, 2] = 1
    """2: the sampled channels are average-pooled 2x2, mixed at the lower resolution and upsampled."""
    order: Literal[1, 2] = 1
    """1: alpha descends the validation loss at the current weights; 2: at the weights after one more SGD step."""
    hessian_vector_product: Literal["exact", "finite_difference"] = "exact"
    """Second order only: exact (double backpropagation), or the finite difference of the official code."""
    learning_rate: float = 0.1
    """SGD learning rate of the weights in the first epoch."""
    learning_rate_min: float = 0.0
    """Learning rate at the end of the cosine schedule."""
    learning_rate_warmup_epochs: int = 0
    """Epochs at the start in which a linear warm-up of the learning rate replaces the cosine schedule."""
    momentum: float = 0.9
    """SGD momentum."""
    weight_decay: float = 3e-4
    """L2 penalty on the weights."""
    gradient_clip: float = 5.0
    """Largest L2 norm of the gradient of the weights."""
    alpha_gradient_clip: float = 0.0
    """Largest L2 norm of the gradient of alpha and beta; 0: not clipped."""
    alpha_learning_rate: float = 6e-4
    """Adam learning rate of alpha and beta."""
    alpha_weight_decay: float = 1e-3
    """L2 penalty on alpha and beta."""
    cutout: int = 0
    """Side of the square cut out of training images, pixels; 0: off."""
    drop_path: float = 0.0
    """Probability of dropping an edge's output for an image in the last epoch; it rises linearly from 0."""
    implementation: Literal["fast", "reference"] = "fast"
    """Super-network: fast, or reference, the readable one with a module per edge. Results are equal except for
    rounding. Spaces other than darts, and passes that drop paths, always use the reference."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """fp32, or bf16 autocast, which needs the reference implementation. Not yet run on a GPU."""
    keep_freed_memory: bool = True
    """Let the process keep memory that it freed, which is faster and changes no number. Linux with glibc only."""
    channels_last: bool = False
    """Channels-last memory format of the reference implementation; the fast one always uses it."""
    compile: bool = False
    """Compile the reference implementation with torch.compile, which takes minutes once. Not yet run on a GPU."""
    cuda_graphs: bool = True
    """On a GPU, capture the steps on weights and on alpha and the evaluation as CUDA graphs, once a search. If that
    fails, they run eagerly, which is slower. No effect on a CPU; nor with channel_sampling random, space s4, drop_path
    or compile. Not yet run on a GPU."""
    validate_every: int = 1
    """Epochs between measurements of the validation accuracy; the last epoch is always measured."""
    eigenvalue_every: int = 2
    """Epochs between measurements of the dominant eigenvalue, of the discretized accuracies and of the accuracy on the
    training half; the last epoch is always measured. 0: never."""
    eigenvalue_batch: int = 32
    """Validation images in a batch for the dominant eigenvalue. Memory grows with them, as the graphs of both
    derivatives are kept."""
    eigenvalue_batches: int = 1
    """Batches, always the same, whose dominant eigenvalues are averaged; two or more show their deviation."""
    eigenvalue_rule: Rule = "warn"
    """If the dominant eigenvalue, averaged over 5 measurements, exceeds 1.3 times its average 4 measurements earlier,
    from epoch 10 on: off, warn, or stop and return the cell of that earlier epoch."""
    skip_rule: Rule = "warn"
    """If the normal cell has more than max_skip_connections: off, warn, or stop and return the last cell within the
    limit."""
    frozen_rule: Rule = "off"
    """If the genotype did not change for frozen_epochs: off, warn, or stop and return it."""
    nonfinite_rule: Rule = "stop"
    """If the training loss, alpha or beta is not finite: off, warn, or stop and return the cell of the last epoch
    before; the search fails if no such epoch trained alpha."""
    max_skip_connections: int = 4
    """Skip connections in the normal cell, of 8 operations, above which skip_rule fires."""
    frozen_epochs: int = 10
    """Epochs of trained alpha without a change of the genotype after which frozen_rule fires."""
    seed: int = 0
    """Seed of all random draws of the search. Searches of equal seed see the same batches, whatever their k."""
    threads: int = 1
    """CPU threads of the search; under Ray also the CPUs it reserves. Another number can change the last bits."""
    device: str = "auto"
    """Device of the search: auto (a GPU if available), cpu, cuda or cuda:N."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; the last epoch is always saved."""

    def __post_init__(self) -> None:
        check_types(self)
        for name, value in METHOD_FIELDS.get(self.method, {}).items():
            object.__setattr__(self, name, value)
        at_least(self, batch_size=1, epochs=1, channels=1, threads=1, checkpoint_every=1, validate_every=1)
        at_least(self, eigenvalue_batch=1, eigenvalue_batches=1, frozen_epochs=1, cutout=0, max_images=0)
        at_least(self, image_size=0)
        at_least(self, learning_rate_min=0, weight_decay=0, alpha_weight_decay=0, alpha_gradient_clip=0)
        require(
            0 <= self.warmup_epochs < self.epochs,
            self,
            "warmup_epochs",
            f"at least 0 and less than epochs ({self.epochs}), or alpha is never trained",
        )
        require(
            0 <= self.learning_rate_warmup_epochs < self.epochs,
            self,
            "learning_rate_warmup_epochs",
            f"at least 0 and less than epochs ({self.epochs})",
        )
        require(self.layers >= 3, self, "layers", "at least 3, for a normal cell and two reduction cells")
        require(
            self.stem == "cifar" or self.channels % 2 == 0, self, "channels", "even, as the imagenet stem halves them"
        )
        divisors = [d for d in range(1, self.channels + 1) if self.channels % d == 0]
        require(self.k in divisors, self, "k", f"one of {divisors}, so that it divides the channels ({self.channels})")
        require(
            self.side_operation != "conv_1x1_part" or self.channels % 4 == 0,
            self,
            "channels",
            "a multiple of 4, as side_operation conv_1x1_part convolves a quarter of them",
        )
        require(0 < self.train_portion < 1, self, "train_portion", "between 0 and 1")
        reference = "with the fast implementation; implementation = reference allows another"
        require(self.implementation == "reference" or self.precision == "fp32", self, "precision", f"fp32 {reference}")
        require(self.implementation == "reference" or not self.compile, self, "compile", f"False {reference}")
        for name in ("learning_rate", "alpha_learning_rate", "gradient_clip"):
            require(getattr(self, name) > 0, self, name, "above 0")
        require(self.learning_rate_min <= self.learning_rate, self, "learning_rate_min", "at most learning_rate")
        for name in ("momentum", "drop_path"):
            require(0 <= getattr(self, name) < 1, self, name, "at least 0 and less than 1")
        require(0 <= self.seed < 2**31, self, "seed", "between 0 and 2147483647")
        require(self.eigenvalue_every >= 0, self, "eigenvalue_every", "at least 0, where 0 turns the measurement off")
        require(0 <= self.max_skip_connections <= 8, self, "max_skip_connections", "between 0 and 8")

    @property
    def search_id(self) -> str:
        """Readable name of the search, unique to everything that decides its outcome."""
        if self.method == "random":  # no other field matters
            return f"random-seed{self.seed}-{digest(self.method, self.space, self.seed)}"
        name = f"k{self.k}" if self.method == "pcdarts" else self.method
        return f"{name}-seed{self.seed}-{digest(self)}"

    def due(self, every: int, epoch: int) -> bool:
        """Whether an epoch is one of every `every` epochs, or the last; never if `every` is 0."""
        return every > 0 and ((epoch + 1) % every == 0 or epoch + 1 == self.epochs)

    @property
    def capture_obstacle(self) -> str:
        """Why the steps of this search cannot be captured as CUDA graphs; empty if they can."""
        if self.channel_sampling == "random" or self.space == "s4" or self.drop_path:
            return "channel_sampling random, space s4 and drop_path draw on the CPU in every step"
        return "a network of torch.compile may be compiled again in any step" if self.compile else ""

    @property
    def captures(self) -> bool:
        """Whether this search, on a GPU, captures its steps as CUDA graphs."""
        return self.cuda_graphs and not self.capture_obstacle

    @property
    def sampling_rate(self) -> float | None:
        """Share of the channels that enter the mixed operation, 1 / k; None for random cells."""
        return None if self.method == "random" else 1 / self.k


def learning_rate_advice(config: SearchConfig) -> str | None:
    """A warning if learning_rate / batch_size is far from the official ratio, else None.

    Users who searched with a batch of 96 at the learning rate of 256 found cells full of skip connections.
    """
    official = {"cifar10": 0.1 / 256, "cifar100": 0.1 / 256, "imagenet": 0.5 / 1024}.get(config.dataset)
    if official is None or 2 / 3 < config.learning_rate / config.batch_size / official < 3 / 2:
        return None
    return (
        f"learning_rate {config.learning_rate:g} with batch_size {config.batch_size} differs from the official ratio: "
        f"{official * config.batch_size:.3g} would keep it"
    )
