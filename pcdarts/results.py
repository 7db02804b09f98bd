"""What a search and a retraining report: records that become rows of the tables.  Needs the standard library alone."""

from dataclasses import dataclass

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """The state of a search after one epoch."""

    epoch: int
    """Epoch, counted from 0."""
    alpha_trained: bool
    """Whether alpha and beta were trained in this epoch; false during the warm-up."""
    learning_rate: float
    """SGD learning rate of the weights in this epoch."""
    train_loss: float
    """Mean cross-entropy of the super-network on the training half, in training mode, during the epoch."""
    train_accuracy: float
    """Accuracy of the super-network on the training half, in training mode, during the epoch; percent."""
    valid_loss: float | None
    """Mean cross-entropy of the super-network on the validation half, in evaluation mode, after the epoch; empty in
    epochs that validate_every leaves out."""
    valid_accuracy: float | None
    """Accuracy of the super-network on the validation half, in evaluation mode, after the epoch; percent."""
    genotype: str
    """Cells derived from alpha and beta after the epoch, in the official notation."""
    genotype_digest: str
    """16 hex digits, equal for isomorphic cells."""
    alphas_normal: Matrix
    """Alpha of the normal cell before the softmax: 14 edges x the space's operations of an edge, 8 in darts."""
    alphas_reduce: Matrix
    """Alpha of the reduction cell before the softmax: 14 edges x the space's operations of an edge, 8 in darts."""
    betas_normal: Vector
    """Beta of the normal cell before the softmax: 14 edges."""
    betas_reduce: Vector
    """Beta of the reduction cell before the softmax: 14 edges."""
    alpha_entropy_normal: float
    """Mean over the edges of the entropy of softmax(alpha), normal cell; nats, at most the ln of an edge's operations:
    ln 8 = 2.079 in the space darts."""
    alpha_entropy_reduce: float
    """As alpha_entropy_normal, for the reduction cell."""
    beta_entropy_normal: float
    """Mean over the nodes of the entropy of softmax(beta), divided by its maximum (ln of the node's edges); 0 to 1."""
    beta_entropy_reduce: float
    """As beta_entropy_normal, for the reduction cell."""
    skip_connections_normal: int
    """Skip connections in the derived normal cell, 0 to 8."""
    skip_connections_reduce: int
    """Skip connections in the derived reduction cell, 0 to 8."""
    seconds: float
    """Wall-clock time of the epoch, validation included; seconds."""
    peak_memory_bytes: int
    """Peak memory so far: allocated on the GPU, or resident size of the process on a CPU; bytes."""
    dominant_eigenvalue: float | None = None
    """Largest algebraic eigenvalue of the Hessian of the validation loss in the alphas of both cells; empty in epochs
    that did not measure it."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The outcome of a search: the state after its last epoch, or a random cell, which has no losses or accuracies."""

    genotype: str
    """Cells that the search found, in the official notation."""
    genotype_digest: str
    """16 hex digits, equal for isomorphic cells."""
    train_loss: float | None
    """Mean cross-entropy of the super-network on the training half in the last epoch."""
    train_accuracy: float | None
    """Accuracy of the super-network on the training half in the last epoch; percent."""
    valid_loss: float | None
    """Mean cross-entropy of the super-network on the validation half after the last epoch."""
    valid_accuracy: float | None
    """Accuracy of the super-network on the validation half after the last epoch; percent. Shared weights: not the
    accuracy of the retrained network."""
    supernet_parameters: int
    """Weights of the super-network, without alpha and beta; 0 for a random cell."""
    epochs_trained: int
    """Epochs that were trained; 0 for a random cell."""
    last_genotype_change: int
    """Last epoch that changed the genotype; the cell was final from then on."""
    skip_connections_normal: int
    """Skip connections in the normal cell, 0 to 8."""
    skip_connections_reduce: int
    """Skip connections in the reduction cell, 0 to 8."""
    seconds: float
    """Wall-clock time of all epochs; seconds. Time lost to a crash is not in it."""
    peak_memory_bytes: int
    """Peak memory: allocated on the GPU, or resident size of the process on a CPU; bytes."""
    device_name: str
    """The device that the search ran on."""
    early_stop_epoch: int | None = None
    """Epoch that the eigenvalue rule names, whether or not it was obeyed; empty where it names none."""
    dominant_eigenvalue: float | None = None
    """Dominant eigenvalue at the chosen epoch, or the last one measured before it."""


@dataclass(frozen=True, kw_only=True)
class RetrainEpoch:
    """The state of a retraining after one epoch."""

    epoch: int
    """Epoch, counted from 0."""
    learning_rate: float
    """SGD learning rate in this epoch."""
    train_loss: float
    """Mean training loss, with label smoothing, without the auxiliary head's part."""
    train_accuracy: float
    """Training accuracy; percent."""
    valid_loss: float
    """Mean cross-entropy on the validation part after the epoch."""
    valid_accuracy: float
    """Accuracy on the validation part after the epoch; percent."""
    seconds: float
    """Wall-clock time of the epoch, validation included; seconds."""


@dataclass(frozen=True, kw_only=True)
class RetrainResult:
    """The outcome of a retraining."""

    best_epoch: int
    """Epoch with the best validation accuracy, counted from 0: its weights are tested."""
    train_loss: float
    """Mean training loss in the last epoch, without the auxiliary head's part."""
    train_accuracy: float
    """Training accuracy in the last epoch; percent."""
    valid_accuracy: float
    """Validation accuracy of the best epoch; percent."""
    test_loss: float
    """Mean cross-entropy on the test set, measured once; for data sets without test labels on the official
    validation set, which picked nothing."""
    test_accuracy: float
    """Accuracy on the test set, measured once; percent."""
    network_parameters: int
    """Weights of the network without the auxiliary head."""
    network_macs: int
    """Multiply-adds of one image in convolutions and linear layers, without the auxiliary head."""
    epochs_trained: int
    """Epochs that were trained."""
    seconds: float
    """Wall-clock time of all epochs; seconds."""
    peak_memory_bytes: int
    """Peak memory: allocated on the GPU, or resident size of the process on a CPU; bytes."""
    device_name: str
    """The device that the training ran on."""
