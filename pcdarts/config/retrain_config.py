"""Configuration of a retraining.  Needs the standard library alone."""

from dataclasses import dataclass
from typing import Literal

from pcdarts.config.choices import Dataset, Flip
from pcdarts.config.fields import at_least, check_types, require


@dataclass(frozen=True, kw_only=True)
class RetrainConfig:
    """Recipe to train a discrete network from scratch.  Raises ValueError for settings that cannot work."""

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
    validation_portion: float = 0.1
    """Share of the training images that selects the best epoch; the test set is evaluated once, at the end. 0: as in
    the official code, all images are trained on, nothing is validated, and the last epoch is tested."""
    max_images: int = 0
    """Training images to use, the first in stored order, for quick trials; validation_portion is a share of them. 0:
    all. No effect on imagenet."""
    batch_size: int = 96
    """Images per step."""
    epochs: int = 600
    """Epochs of training."""
    channels: int = 36
    """Channels C of the first cell; doubled at every reduction cell."""
    layers: int = 20
    """Cells of the network; the reduction cells are at layers // 3 and 2 * layers // 3."""
    stem: Literal["cifar", "imagenet"] = "cifar"
    """First layers: cifar keeps the resolution, imagenet reduces it by a factor of eight."""
    learning_rate: float = 0.025
    """SGD learning rate at the start of the schedule."""
    learning_rate_batch: int = 0
    """Batch size that learning_rate is meant for: another batch_size trains with learning_rate x batch_size /
    learning_rate_batch (linear scaling, Goyal et al. 2017). 0: no scaling."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls to 0: cosine, or linear, which falls more slowly in the last five epochs."""
    learning_rate_warmup_epochs: int = 0
    """Epochs at the start in which a linear warm-up of the learning rate replaces the schedule."""
    momentum: float = 0.9
    """SGD momentum."""
    weight_decay: float = 3e-4
    """L2 penalty on the weights."""
    gradient_clip: float = 5.0
    """Largest L2 norm of the gradient."""
    auxiliary_weight: float = 0.4
    """Weight of the loss of the auxiliary head; 0: no auxiliary head."""
    drop_path: float = 0.3
    """Probability of dropping an operation's output for an image; it rises linearly from 0 and would reach this value
    after the last epoch."""
    label_smoothing: float = 0.0
    """Label smoothing of the training loss."""
    cutout: int = 16
    """Side of the square cut out of training images, pixels; 0: off."""
    implementation: Literal["fast", "reference"] = "fast"
    """How training steps are computed: fast, or reference, the readable one. Results are equal except for rounding.
    On a GPU, with several workers, with compile, in bf16 and in fp16 the reference is always used."""
    keep_freed_memory: bool = True
    """Let the process keep memory that it freed, which is faster and changes no number. Linux with glibc only."""
    channels_last: bool = False
    """Channels-last memory format of the reference implementation; the fast one always uses it."""
    compile: bool = False
    """Compile the network with torch.compile, which takes minutes once. Not yet run on a GPU."""
    checkpoint_activations: bool = False
    """Keep only the inputs of every cell and compute the cell again for its gradient: less memory, more time, the same
    result to the bit."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """fp32; tf32, products and convolutions of a GPU with 10 of 23 mantissa bits; or autocast to bf16 or fp16, the
    latter with loss scaling. What these cost in accuracy is not known. Not yet run on a GPU."""
    ema_decay: float = 0.0
    """Decay per step of an exponential moving average of the weights, which is evaluated as well; 0: none."""
    seed: int = 0
    """Seed of all random draws."""
    threads: int = 1
    """CPU threads; under Ray also the CPUs it reserves."""
    device: str = "auto"
    """Device: auto (a GPU if available), cpu, cuda or cuda:N."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; the last epoch is always saved."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, batch_size=1, epochs=1, channels=1, threads=1, checkpoint_every=1)
        at_least(self, weight_decay=0, auxiliary_weight=0, cutout=0, learning_rate_batch=0, max_images=0, image_size=0)
        require(self.layers >= 3, self, "layers", "at least 3, for a normal cell and two reduction cells")
        require(self.channels % 2 == 0, self, "channels", "even, as reductions halve them")
        require(
            0 <= self.learning_rate_warmup_epochs < self.epochs,
            self,
            "learning_rate_warmup_epochs",
            f"at least 0 and less than epochs ({self.epochs})",
        )
        for name in ("learning_rate", "gradient_clip"):
            require(getattr(self, name) > 0, self, name, "above 0")
        for name in ("momentum", "drop_path", "label_smoothing", "ema_decay", "validation_portion"):
            require(0 <= getattr(self, name) < 1, self, name, "at least 0 and less than 1")
        require(not (self.compile and self.checkpoint_activations), self, "compile", "False to checkpoint activations")
        require(0 <= self.seed < 2**31, self, "seed", "between 0 and 2147483647")

    @property
    def scaled_learning_rate(self) -> float:
        """The learning rate that the schedule starts at, scaled with the batch size."""
        return self.learning_rate * (self.batch_size / self.learning_rate_batch if self.learning_rate_batch else 1)
