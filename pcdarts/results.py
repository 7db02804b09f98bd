"""Results of a search and of a retraining, which become rows of the tables.  Needs the standard library alone."""

from dataclasses import dataclass

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]

STOPPED_BY_HAND = "stopped by hand"
"""`stop_reason` of a search that no rule but a person ended."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Measures of alpha, beta, weights, cells and time, after an epoch or at the chosen epoch of a search."""

    alpha_entropy_normal: float | None = None
    """Mean over the edges of the entropy of softmax(alpha), normal cell; nats, at most the ln of an edge's operations:
    ln 8 = 2.079 in the space darts."""
    alpha_entropy_reduce: float | None = None
    """As alpha_entropy_normal, for the reduction cell."""
    beta_entropy_normal: float | None = None
    """Mean over the nodes of the entropy of softmax(beta), divided by its maximum (ln of the node's edges); 0 to 1."""
    beta_entropy_reduce: float | None = None
    """As beta_entropy_normal, for the reduction cell."""
    dominant_eigenvalue: float | None = None
    """Largest algebraic eigenvalue of the Hessian of the validation loss in the alphas of both cells, with batch
    statistics (Zela et al. 2020): mean over eigenvalue_batches batches of eigenvalue_batch validation images; empty in
    epochs that eigenvalue_every leaves out; in `searches` the last one measured."""
    dominant_eigenvalue_std: float | None = None
    """Sample standard deviation of the dominant eigenvalue between the batches that it is the mean of; empty for a
    single batch."""
    discretized_accuracy: float | None = None
    """Accuracy on the validation half, in evaluation mode, of the same weights with only the chosen operations and
    edges, under the running statistics of the mixture: often near chance; percent, measured where the eigenvalue and
    valid_accuracy are; in `searches` the last one measured."""
    discretization_gap: float | None = None
    """valid_accuracy - discretized_accuracy; percentage points."""
    discretized_accuracy_recalibrated: float | None = None
    """As discretized_accuracy, after the running statistics of all batch norms were estimated again for the discretized
    network, from at most 512 training images; on at most 2,048 validation images; percent."""
    random_cells_accuracy_recalibrated: float | None = None
    """As discretized_accuracy_recalibrated and on the same images, for random cells in place of the derived one, mean
    over 8 of them; percent: what any cell reaches with these weights."""
    alpha_margin_normal: float | None = None
    """Mean over the 8 kept edges: softmax(alpha) of the chosen operation minus that of the next one, `none` left out; 0
    to 1, normal cell."""
    alpha_margin_reduce: float | None = None
    """As alpha_margin_normal, for the reduction cell."""
    edge_margin_normal: float | None = None
    """Mean over the nodes with a dropped edge: score of the worst kept edge minus that of the best dropped one; the
    score is softmax(alpha) x softmax(beta) of the best operation; 0 to 1, normal cell."""
    edge_margin_reduce: float | None = None
    """As edge_margin_normal, for the reduction cell."""
    pools_normal: int | None = None
    """Max and average pools in the derived normal cell, 0 to 8."""
    pools_reduce: int | None = None
    """Max and average pools in the derived reduction cell, 0 to 8."""
    parameter_free_share_normal: float | None = None
    """Share of skip connections and pools among the 8 operations of the derived normal cell, 0 to 1."""
    parameter_free_share_reduce: float | None = None
    """Share of skip connections and pools among the 8 operations of the derived reduction cell, 0 to 1."""
    depth_normal: int | None = None
    """Operations on the longest path from an input to a node of the derived normal cell, 1 to 4; the edge to the output
    of the cell does not count."""
    depth_reduce: int | None = None
    """Operations on the longest path from an input to a node of the derived reduction cell, 1 to 4; the edge to the
    output of the cell does not count."""
    width_normal: float | None = None
    """Half the number of operations of the derived normal cell that read an input of the cell, 1 to 4 (Shu et al.
    2020)."""
    width_reduce: float | None = None
    """Half the number of operations of the derived reduction cell that read an input of the cell, 1 to 4."""
    alpha_kendall_tau: float | None = None
    """Kendall's tau-b between the alphas of an edge in this and the previous epoch, mean over all edges; -1 to 1,
    empty in the first epoch."""
    weight_norm: float | None = None
    """L2 norm of all weights of the super-network, without alpha and beta."""
    alpha_norm: float | None = None
    """L2 norm of the alphas of both cells."""
    beta_norm: float | None = None
    """L2 norm of the betas of both cells."""
    train_accuracy_evaluated: float | None = None
    """Accuracy of the super-network on the training half, measured as valid_accuracy is: in evaluation mode, without
    augmentation, after the epoch; on as many images as the validation half has, at most 10,000; percent, measured where
    discretized_accuracy is."""
    train_valid_gap: float | None = None
    """train_accuracy_evaluated - valid_accuracy; percentage points."""
    eigenvalue_seconds: float | None = None
    """Time of measuring the dominant eigenvalue, a part of seconds_metrics; seconds, in `searches` of all epochs."""
    seconds_data: float | None = None
    """Time spent waiting for batches of both halves while training; seconds, in `searches` of all epochs."""
    seconds_weights: float | None = None
    """Time of the steps on the weights; seconds, in `searches` of all epochs."""
    seconds_alpha: float | None = None
    """Time of the steps on alpha and beta; seconds, in `searches` of all epochs."""
    seconds_validation: float | None = None
    """Time of measuring the validation accuracy; seconds, in `searches` of all epochs."""
    seconds_metrics: float | None = None
    """Time of all other measures, the eigenvalue among them; seconds, in `searches` of all epochs."""
    images_per_second: float | None = None
    """Training images per second, over the sum of seconds_data, seconds_weights and seconds_alpha."""


@dataclass(frozen=True, kw_only=True)
class EpochState:
    """Losses, alpha, beta and cells of a search after one epoch."""

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
    skip_connections_normal: int
    """Skip connections in the derived normal cell, 0 to 8."""
    skip_connections_reduce: int
    """Skip connections in the derived reduction cell, 0 to 8."""
    seconds: float
    """Wall-clock time of the epoch, validation included; seconds."""
    peak_memory_bytes: int
    """Peak memory so far: reserved by PyTorch on the GPU, or resident size of the process on a CPU; bytes."""
    warnings: str = ""
    """Warnings of the collapse rules after the epoch, joined by "; "; empty if none."""


@dataclass(frozen=True, kw_only=True)
class EpochRecord(Measures, EpochState):
    """Everything a search reports for one epoch; the fields of the state come first."""


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """Cells and end of a search.  A random cell has no losses and accuracies."""

    genotype: str
    """Cells that the search found, in the official notation."""
    genotype_digest: str
    """16 hex digits, equal for isomorphic cells."""
    train_loss: float | None
    """Mean cross-entropy of the super-network on the training half in the chosen epoch."""
    train_accuracy: float | None
    """Accuracy of the super-network on the training half in the chosen epoch; percent."""
    valid_loss: float | None
    """Mean cross-entropy of the super-network on the validation half: the last one measured, at or before the chosen
    epoch."""
    valid_accuracy: float | None
    """Accuracy of the super-network on the validation half, measured with valid_loss; percent. Shared weights: not the
    accuracy of the retrained network."""
    supernet_parameters: int
    """Weights of the super-network, without alpha and beta; 0 for a random cell."""
    epochs_trained: int
    """Epochs that were trained; 0 for a random cell."""
    last_genotype_change: int
    """Last epoch, up to the chosen one, that changed the genotype; the cell was final from then on."""
    skip_connections_normal: int
    """Skip connections in the normal cell, 0 to 8."""
    skip_connections_reduce: int
    """Skip connections in the reduction cell, 0 to 8."""
    seconds: float
    """Wall-clock time of all epochs; seconds. Time lost to a crash does not count."""
    peak_memory_bytes: int
    """Peak memory: reserved by PyTorch on the GPU, or resident size of the process on a CPU; bytes."""
    device_name: str
    """Device that the search ran on."""
    chosen_epoch: int | None = None
    """Epoch of the reported cell, losses, accuracies and measures: the last one, or the one that a rule chose."""
    stop_reason: str = ""
    """Collapse rule that ended the search, and why, or "stopped by hand"; empty if all epochs were trained."""
    warnings: str = ""
    """Warnings of the collapse rules in all epochs, each once, joined by "; "; empty if none."""
    early_stop_epoch: int | None = None
    """Epoch that the eigenvalue rule would return, whatever eigenvalue_rule is; empty if the rule does not fire."""
    gpu_days: float | None = None
    """seconds / 86400, times the share of a GPU that the search had; empty on a CPU."""


@dataclass(frozen=True, kw_only=True)
class SearchResult(Measures, SearchOutcome):
    """Everything a search reports, at its chosen epoch: the last one unless a rule stopped the search.

    A random cell has no measures of training.  The fields of the outcome come first.
    """


@dataclass(frozen=True, kw_only=True)
class RetrainEpoch:
    """The state of a retraining after one epoch."""

    epoch: int
    """Epoch, counted from 0."""
    learning_rate: float
    """SGD learning rate in this epoch."""
    train_loss: float
    """Mean training loss, with label smoothing and without the auxiliary head."""
    train_accuracy: float
    """Training accuracy; percent."""
    valid_loss: float | None
    """Mean cross-entropy on the validation part after the epoch; empty with validation_portion 0."""
    valid_accuracy: float | None
    """Accuracy on the validation part after the epoch; percent; empty with validation_portion 0."""
    seconds: float
    """Wall-clock time of the epoch, validation included; seconds."""
    train_top5: float | None = None
    """Training images whose class is among the five most probable ones; percent; empty with five classes or fewer."""
    valid_top5: float | None = None
    """As train_top5, on the validation part after the epoch; percent."""
    ema_valid_loss: float | None = None
    """As valid_loss, with the moving average of the weights; empty with ema_decay 0."""
    ema_valid_accuracy: float | None = None
    """As valid_accuracy, with the moving average of the weights; percent."""
    ema_valid_top5: float | None = None
    """As valid_top5, with the moving average of the weights; percent."""


@dataclass(frozen=True, kw_only=True)
class RetrainResult:
    """The outcome of a retraining."""

    best_epoch: int
    """Epoch whose weights are tested, counted from 0: the one with the best validation accuracy; with
    validation_portion 0 the last one."""
    train_loss: float
    """Mean training loss in the last epoch, without the auxiliary head."""
    train_accuracy: float
    """Training accuracy in the last epoch; percent."""
    valid_accuracy: float | None
    """Validation accuracy of the best epoch; percent; empty with validation_portion 0."""
    test_loss: float
    """Mean cross-entropy on the test set, measured once. ImageNet: on the official validation set, which did not select
    the epoch."""
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
    """Peak memory: reserved by PyTorch on the GPU, or resident size of the process on a CPU; bytes."""
    device_name: str
    """Device that the training ran on."""
    valid_top5: float | None = None
    """Validation images of the best epoch whose class is among the five most probable ones; percent; empty with five
    classes or fewer."""
    test_top5: float | None = None
    """As valid_top5, on the test set; percent."""
    ema_best_epoch: int | None = None
    """Epoch whose moving average of the weights has the best validation accuracy; with validation_portion 0 the last
    one; empty with ema_decay 0."""
    ema_valid_accuracy: float | None = None
    """Validation accuracy of the averaged weights of ema_best_epoch; percent."""
    ema_valid_top5: float | None = None
    """As valid_top5, with the averaged weights of ema_best_epoch; percent."""
    ema_test_loss: float | None = None
    """As test_loss, with the averaged weights of ema_best_epoch, measured once."""
    ema_test_accuracy: float | None = None
    """As test_accuracy, with the averaged weights of ema_best_epoch, measured once; percent."""
    ema_test_top5: float | None = None
    """As test_top5, with the averaged weights of ema_best_epoch; percent."""
    chosen_weights: str = "raw"
    """Weights with the better validation accuracy: raw, or ema, the moving average; raw with validation_portion 0."""
    workers: int | None = None
    """Worker processes at the end of the training."""
    training_images: int | None = None
    """Images that the network was trained on."""
    validation_images: int | None = None
    """Images that valid_accuracy was measured on; 0 with validation_portion 0."""
    test_images: int | None = None
    """Images that test_accuracy was measured on."""
    test_correct: bytes | None = None
    """Whether the chosen weights classified each test image correctly, in the order of the data set: one bit an image,
    as numpy.packbits packs them."""
