"""Pointwise convolution, batch norm and mixture weights folded into one matrix product, with its backward pass.

Let A (M, q) be M pixels of q centred features, P (p, q) a pointwise convolution and w the weight of the operation:

    C = A^T A / M      var = diag(P C P^T)      rstd = (var + eps)^-1/2      sum of w BN(A P^T) = A (w rstd P)^T

so the pointwise output never exists.  With G (M, p) the gradient of the result and D = A^T G (q, p):

    dw = sum of rstd diag(P D)      v = -1/2 rstd^3 w diag(P D)      (gradient of var)
    dP = w rstd D^T + 2 v P C       dA = G (w rstd P) + 2 / M A P^T v P, centred

Names: a fold holds J x F blocks.  Block (j, f) reads its own columns of A, or those that all f of a j share, and adds to
the p output columns f; blocks of equal f are summed.  All features of A lie side by side in one or more matrices, whose
columns are ordered (j, f, q), or (j, q) where shared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-5
"""The one of nn.BatchNorm2d."""
GEMM_COLUMNS = 64
"""Block-diagonal products are dense up to this width: on a CPU faster than many narrow ones."""
SUMMED_COLUMNS = 16

Running = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Fold:
    """What a fold keeps for its backward pass: all of it small.  Where features are shared, F is 1 in their moments."""

    pointwise: Tensor
    """P (J, F, p, q)."""
    weight: Tensor
    """w (J, F, 1)."""
    rstd: Tensor
    """(J, F, p)."""
    center: Tensor
    """Subtracted after the pointwise convolution (J, F, p): the mean over the batch, or the running mean."""
    variance: Tensor
    """Biased (J, F, p), or the running one."""
    shared: bool
    feature_mean: Tensor | None = None
    """Column means of A (J, F, q); None in evaluation mode."""
    pointwise_covariance: Tensor | None = None
    """P C (J, F, p, q); None in evaluation mode."""

    @property
    def scale(self) -> Tensor:
        """w rstd (J, F, p)."""
        return self.weight * self.rstd

    @property
    def matrices(self) -> Tensor:
        """The folded matrices w rstd P (J, F, p, q)."""
        return self.scale[..., None] * self.pointwise


def fold(
    features: Sequence[Tensor], pointwise: Tensor, weight: Tensor, running: Running | None, shared: bool = False
) -> Fold:
    """Fold batch statistics of the features, or running mean and variance (J, F, p), into pointwise convolutions."""
    if running is not None:
        center, variance = running
        return Fold(pointwise, weight, (variance + EPSILON).rsqrt(), center, variance, shared)
    rows, (j, f, _, q) = features[0].shape[0], pointwise.shape
    blocks = (j, 1 if shared else f, q)
    mean = _join([column_sums(a) for a in features]).view(blocks) / rows
    gram = _join([_diagonal_blocks(a, a, q, q) for a in features]).view(*blocks, q) / rows
    covariance = gram - mean[..., :, None] * mean[..., None, :]
    product = pointwise @ covariance
    variance = (product * pointwise).sum(-1)
    center = (pointwise @ mean[..., None])[..., 0]
    return Fold(pointwise, weight, (variance + EPSILON).rsqrt(), center, variance, shared, mean, product)


def apply_folds(folds: Sequence[Fold], features: Sequence[Sequence[Tensor]]) -> Tensor:
    """The normalized and weighed sum (M, F p) of the pointwise convolutions of all folds, each with its features."""
    out, bias = None, -sum((fold.scale * fold.center).sum(0).flatten() for fold in folds)
    for fold, matrices in zip(folds, features, strict=True):
        for a, blocks in zip(matrices, _split(fold.matrices, matrices), strict=True):
            if out is None:
                out = multiply(a, blocks, fold.shared, bias)
            else:
                out.addmm_(a, dense(blocks, fold.shared))
    assert out is not None
    return out


def fold_backward(
    fold: Fold, features: Sequence[Tensor], gradient: Tensor, outs: Sequence[Tensor | None] | None = None
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Gradients in the features, in P (J, F, p, q) and in w (J, F, 1), from that of the output (M, F p).

    Those in the features are written to `outs` where given.
    """
    outs = [None] * len(features) if outs is None else outs
    rows, (_, f, p, q) = gradient.shape[0], fold.pointwise.shape
    total = column_sums(gradient).view(1, f, p)
    d = _join([block_products(gradient, a, p, q, f, fold.shared) for a in features])  # D^T (J, F, p, q)
    t = (fold.pointwise * d).sum(-1) - fold.center * total  # diag(P D) (J, F, p)
    scale, matrices = fold.scale, fold.matrices
    weight_gradient = (fold.rstd * t).sum(-1, keepdim=True)
    parts = _split(matrices, features)
    if fold.feature_mean is None or fold.pointwise_covariance is None:
        back = [multiply_transposed(gradient, v, fold.shared, None, out) for v, out in zip(parts, outs, strict=True)]
        return back, scale[..., None] * d, weight_gradient
    v = (-0.5 * scale * fold.rstd.square() * t)[..., None]
    centred = d - total[..., None] * fold.feature_mean[..., None, :]
    pointwise_gradient = scale[..., None] * centred + 2 * v * fold.pointwise_covariance
    curvature = (2 / rows) * (fold.pointwise.transpose(-1, -2) @ (v * fold.pointwise))  # (J, F, q, q)
    offset = (total[..., None] * matrices).sum(-2) / -rows  # (J, F, q)
    if fold.shared:
        curvature, offset = curvature.sum(1, keepdim=True), offset.sum(1, keepdim=True)
    offset = offset - (curvature @ fold.feature_mean[..., None])[..., 0]
    curvatures, offsets = _split(curvature, features), _split(offset, features)
    back = []
    for a, blocks, c, o, out in zip(features, parts, curvatures, offsets, outs, strict=True):
        part = multiply_transposed(gradient, blocks, fold.shared, o.flatten(), out)
        back.append(_add_block_product(part, a, c.flatten(0, 1)))
    return back, pointwise_gradient, weight_gradient


def dense(blocks: Tensor, shared: bool) -> Tensor:
    """Blocks (J, F, p, q) as one matrix from all columns of the features to the output columns (F p)."""
    j, f, p, q = blocks.shape
    if shared:
        return blocks.permute(0, 3, 1, 2).reshape(j * q, f * p)
    matrix = blocks.new_zeros(j, f, q, f, p)
    matrix.diagonal(dim1=1, dim2=3).copy_(blocks.permute(0, 3, 2, 1))
    return matrix.view(j * f * q, f * p)


def multiply(a: Tensor, blocks: Tensor, shared: bool, bias: Tensor) -> Tensor:
    """Features a and blocks (J, F, p, q) to the output (M, F p), block-diagonal ones in slices."""
    _, f, p, q = blocks.shape
    out = a.new_empty(a.shape[0], f * p)
    for start, stop, piece in _slices(blocks, shared):
        columns = a[:, start * q : stop * q] if piece is not blocks else a
        torch.addmm(bias[start * p : stop * p], columns, dense(piece, shared), out=out[:, start * p : stop * p])
    return out


def multiply_transposed(
    gradient: Tensor, blocks: Tensor, shared: bool, bias: Tensor | None, out: Tensor | None = None
) -> Tensor:
    """Gradient (M, F p) of the output to that of the features, plus a bias per feature."""
    j, f, p, q = blocks.shape
    if out is None:
        out = gradient.new_empty(gradient.shape[0], j * q * (1 if shared else f))
    for start, stop, piece in _slices(blocks, shared):
        matrix, columns = dense(piece, shared).t(), slice(start * q, stop * q) if piece is not blocks else slice(None)
        if bias is None:
            torch.mm(gradient[:, start * p : stop * p], matrix, out=out[:, columns])
        else:
            torch.addmm(bias[columns], gradient[:, start * p : stop * p], matrix, out=out[:, columns])
    return out


def block_products(gradient: Tensor, a: Tensor, p: int, q: int, f: int, shared: bool) -> Tensor:
    """The blocks (J, F, p, q) of gradient^T a that belong to an operation: gradient (M, F p)."""
    if shared:
        return (gradient.t() @ a).view(f, p, -1, q).permute(2, 0, 1, 3)
    if a.shape[1] == f * q:
        return _diagonal_blocks(gradient, a, p, q)[None]
    return (gradient.t() @ a).view(f, p, -1, f, q).diagonal(dim1=0, dim2=3).permute(1, 3, 0, 2)


def column_sums(a: Tensor) -> Tensor:
    """Sums over the rows; of many columns as a matrix product, which is faster than a reduction."""
    if a.shape[1] < SUMMED_COLUMNS:
        return a.sum(0)
    return (a.new_ones(1, a.shape[0]) @ a)[0]


def _slices(blocks: Tensor, shared: bool) -> Iterator[tuple[int, int, Tensor]]:
    """Blocks (1, F, p, q) cut along F where one dense matrix would be wide and mostly zero."""
    j, f, p, q = blocks.shape
    if shared or j > 1 or f * max(p, q) <= GEMM_COLUMNS:
        yield 0, f, blocks
        return
    step = max(1, GEMM_COLUMNS // max(p, q))
    for start in range(0, f, step):
        stop = min(start + step, f)
        yield start, stop, blocks[:, start:stop]


def _split(stack: Tensor, features: Sequence[Tensor]) -> Sequence[Tensor]:
    """Cut (J, ...) into the parts that belong to each matrix of features."""
    if len(features) == 1:
        return [stack]
    columns = sum(a.shape[1] for a in features) // stack.shape[0]
    return stack.split([a.shape[1] // columns for a in features])


def _diagonal_blocks(a: Tensor, b: Tensor, p: int, q: int) -> Tensor:
    """Diagonal blocks (B, p, q) of a^T b, for a (M, B p) and b (M, B q)."""
    step = max(1, GEMM_COLUMNS // max(p, q))
    blocks = [
        (x.t() @ y).view(x.shape[1] // p, p, -1, q).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        for x, y in zip(a.split(step * p, dim=1), b.split(step * q, dim=1), strict=True)
    ]
    return _join(blocks)


def _add_block_product(out: Tensor, a: Tensor, blocks: Tensor) -> Tensor:
    """Add a (M, B q) times its blocks (B, q, q) to out (M, B q), in place."""
    q = blocks.shape[1]
    step = max(1, GEMM_COLUMNS // q)
    for columns, x, piece in zip(out.split(step * q, 1), a.split(step * q, 1), blocks.split(step), strict=True):
        columns.addmm_(x, dense(piece.transpose(1, 2)[None], shared=False))
    return out


def _join(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
