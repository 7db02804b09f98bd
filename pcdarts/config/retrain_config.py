"""Configuration of a retraining.  Needs the standard library alone."""

from dataclasses import dataclass
from typing import Literal

from pcdarts.config.choices import Dataset
from pcdarts.config.fields import at_least, check_types, require


@dataclass(frozen=True, kw_only=True)
class RetrainConfig:
    """How a discrete network is trained from scratch.  Raises ValueError for settings that cannot work."""

    dataset: Dataset = "cifar10"
    """Data set: digits, fashion-mnist, cifar10, cifar100, imagenet or synthetic."""
    data_dir: str = "data"
    """Folder that holds the data sets; unused by digits and synthetic."""
    validation_portion: float = 0.1
    """Share of the training images that picks the epoch; the test set is touched once, at the end. 0: as in the
    official code all images are trained on, nothing is validated, and the last epoch is tested."""
    batch_size: int = 96
    """Images per step."""
    epochs: int = 600
    """Epochs of training."""
    channels: int = 36
    """Channels C of the first cell; doubled at every reduction cell."""
    layers: int = 20
    """Cells of the network; reduction cells stand at layers // 3 and 2 * layers // 3."""
    stem: Literal["cifar", "imagenet"] = "cifar"
    """First layers: cifar keeps the resolution, imagenet reduces it eight times."""
    learning_rate: float = 0.025
    """SGD learning rate that the schedule starts at."""
    learning_rate_batch: int = 0
    """Batch size that learning_rate is meant for: another batch_size trains with learning_rate x batch_size /
    learning_rate_batch (linear scaling, Goyal et al. 2017); 0: learning_rate as it is."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls to 0; linear: more gently in the last five epochs."""
    learning_rate_warmup_epochs: int = 0
    """First epochs, in which a linear learning-rate warm-up takes the place of the schedule."""
    momentum: float = 0.9
    """SGD momentum."""
    weight_decay: float = 3e-4
    """L2 penalty on the weights."""
    gradient_clip: float = 5.0
    """Largest L2 norm of the gradient."""
    auxiliary_weight: float = 0.4
    """Weight of the auxiliary head's loss; 0: no auxiliary head."""
    drop_path: float = 0.3
    """Probability of dropping an operation's output for an image, reached by a linear ramp."""
    label_smoothing: float = 0.0
    """Label smoothing of the training loss."""
    cutout: int = 16
    """Side of the square that is cut out of training images, pixels; 0: off."""
    channels_last: bool = False
    """Memory format of images and weights: channels last, which GPUs and newer CPUs compute faster in."""
    compile: bool = False
    """Compile the network with torch.compile: takes minutes once. Not yet run on a GPU."""
    checkpoint_activations: bool = False
    """Keep only the inputs of every cell, and compute the cell once more for its gradient: less memory, more time, the
    same result to the bit."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the network's passes: single, or autocast to bfloat16 or float16, the latter with a scaled loss. Not
    yet run on a GPU."""
    ema_decay: float = 0.0
    """Decay, per step, of an exponential moving average of the weights, which is evaluated beside them; 0: none."""
    seed: int = 0
    """Seed of every random draw."""
    threads: int = 1
    """CPU threads; under Ray also the CPUs it reserves."""
    device: str = "auto"
    """Device: auto (a GPU where there is one), cpu, cuda or cuda:N."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; the last epoch is always saved."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, batch_size=1, epochs=1, channels=1, threads=1, checkpoint_every=1)
        at_least(self, weight_decay=0, auxiliary_weight=0, cutout=0, learning_rate_batch=0)
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
