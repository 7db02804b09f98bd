"""Pointwise convolution, batch norm and mixture weights folded into one matrix product, with its backward pass.

Let A (M, q) be M pixels of q features, P (p, q) a pointwise convolution and w the weight of the operation:

    C = covariance of A's columns     var = diag(P C P^T)     rstd = (var + eps)^-1/2
    w BN(A P^T) = (A - mean) V^T with V = w rstd P

so the pointwise output never exists.  With G (M, p) the gradient of the result and D = G^T (A - mean) (p, q):

    t = diag(D P^T)     dw = sum of rstd t     u = -w rstd^3 t / M (gradient of var, times 2 / M)
    dP = w rstd D + M u P C     dA = G V + A P^T u P, centered

A fold holds B = J F blocks (p, q); block (j, f) adds to the output columns of target f, so that outputs are (M, F p).
The features are one or more matrices side by side: either each block has q columns of its own (M, J' F q), or all f of
a j share them (M, J' q).  Everything except the features, the output and their gradients is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-5
"""As in nn.BatchNorm2d."""
CPU_COLUMNS, GPU_COLUMNS = 16, 128
"""Largest width of dense products that stand for several blocks: as fast as a CPU can, and with few calls on a GPU."""
CHUNK = 1024
"""Largest number of rows whose products are summed at once, if their number can be halved so far."""

Running = tuple[Tensor, Tensor]
Moments = tuple[Tensor, Tensor]
"""Column means (B, q, 1) and Gram matrices A^T A (B, q, q) of blocks of columns."""


class Features(NamedTuple):
    """Inputs of a fold."""

    matrix: Tensor
    """(M, J F q), or (M, J q) if shared."""
    shared: bool = False
    moments: Moments | None = None
    """Moments of the columns, if already known."""
    first: int = 0
    """The target f of the first block; a matrix that holds only some targets holds one j."""


class _Slice(NamedTuple):
    """A dense matrix between some columns of the features and some of the output."""

    columns: slice
    results: slice
    matrix: Tensor


@dataclass(frozen=True)
class Fold:
    """What a fold keeps for its backward pass."""

    targets: int
    """F."""
    pointwise: Tensor
    """P (B, p, q)."""
    rstd: Tensor
    """(B, p)."""
    center: Tensor
    """Mean of the pointwise output over the batch, or the running one (B, p)."""
    variance: Tensor
    """Biased, or the running one (B, p)."""
    scale: Tensor
    """w rstd (B, p)."""
    matrices: Tensor
    """V (B, p, q)."""
    bias: Tensor
    """Subtracted from the output (F p)."""
    slices: list[list[_Slice]]
    """V as dense matrices, for each matrix of features."""
    mean: Tensor | None
    """Column means of A (B, q, 1); None in evaluation mode."""
    product: Tensor | None
    """P C (B, p, q); None in evaluation mode."""
    plain: int
    """Number of blocks at the beginning that are not normalized."""


def fold(
    features: Sequence[Features],
    pointwise: Tensor,
    weight: Tensor | None,
    targets: int,
    *,
    running: Running | None = None,
    plain: int = 0,
) -> Fold:
    """Fold the statistics of the features into pointwise convolutions (B, p, q), with weights w (B, 1) or 1.

    `running` is the running mean and variance (B, p) of their outputs in evaluation mode, and None in training.
    """
    mean = product = None
    b, p, q = pointwise.shape
    if running is not None:
        center, variance = running
    else:
        m = features[0].matrix.shape[0]
        known = [f.moments or moments(f.matrix, q) for f in features]
        mean = _blocks(features, targets, [mean for mean, _ in known])
        gram = _blocks(features, targets, [gram for _, gram in known])
        covariance = torch.baddbmm(gram, mean, mean.mT, beta=1 / m, alpha=-1)
        product = torch.bmm(pointwise, covariance)
        variance = _row_products(product, pointwise)
        center = torch.bmm(pointwise, mean)[..., 0]
    rstd = (variance + EPSILON).rsqrt()
    if plain:
        rstd[:plain] = 1
        center[:plain] = 0
    scale = rstd if weight is None else weight * rstd
    matrices = scale[..., None] * pointwise
    parts = _split(matrices, features, targets)
    slices = [_slices(part, targets, f) for part, f in zip(parts, features, strict=True)]
    bias = (scale * center).view(-1, targets * p)
    bias = bias[0] if b == targets else bias.sum(0)
    return Fold(targets, pointwise, rstd, center, variance, scale, matrices, bias, slices, mean, product, plain)


def apply_fold(folded: Fold, features: Sequence[Features], out: Tensor | None = None) -> Tensor:
    """The normalized, weighted sum (M, F p) of the pointwise convolutions, added in place to `out` if given."""
    if out is not None:
        out -= folded.bias
    for (a, *_), slices in zip(features, folded.slices, strict=True):
        if out is None and len(slices) == 1 and slices[0].matrix.shape[1] == len(folded.bias):
            out = torch.addmm(folded.bias, a, slices[0].matrix, beta=-1)
            continue
        if out is None:
            out = (-folded.bias).expand(a.shape[0], -1).contiguous()
        for columns, results, matrix in slices:
            out[:, results].addmm_(a[:, columns], matrix)
    assert out is not None
    return out


def fold_backward(
    folded: Fold,
    features: Sequence[Features],
    gradient: Tensor,
    mean: Tensor,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Gradients in the features, in P (B, p, q) and in w (B, p), from that of the output (M, F p) and its column means.

    The gradient in w has yet to be summed over p.
    """
    m, (b, p, q), targets = gradient.shape[0], folded.pointwise.shape, folded.targets
    columns = _Columns(gradient)
    d = _cat([block for f in features for block in _products(columns, f, targets, p, q)])
    if b > targets:
        mean = mean.view(1, targets, p).expand(b // targets, -1, -1)
    mean = mean.reshape(b, p)
    t = torch.addcmul(_row_products(d, folded.pointwise), folded.center, mean, value=-m)
    dw = folded.rstd * t
    if folded.mean is None or folded.product is None:
        back = [_multiply_transposed(columns, v, None) for v in folded.slices]
        return back, folded.scale[..., None] * d, dw
    u = folded.scale * folded.rstd * dw  # without the factor -1 / M of the docstring
    mean = mean[..., None]
    offset = torch.bmm(folded.matrices.mT, mean)
    if folded.plain:
        u[: folded.plain] = 0
        offset[: folded.plain] = 0
    u = u[..., None]
    curvature = torch.bmm(folded.pointwise.mT, u * folded.pointwise)
    offset = torch.baddbmm(offset, curvature, folded.mean, beta=-1, alpha=1 / m)
    back = []
    curvatures, offsets = _split(curvature, features, targets), _split(offset, features, targets)
    for f, v, c, o in zip(features, folded.slices, curvatures, offsets, strict=True):
        if f.shared and targets > 1:
            c, o = (t.unflatten(0, (-1, targets)).sum(1) for t in (c, o))
        part = _multiply_transposed(columns, v, o.flatten())
        back.append(_add_block_product(part, f.matrix, c, -1 / m))
    d = torch.addcmul(d, mean, folded.mean.mT, value=-m)
    dp = torch.addcmul(folded.scale[..., None] * d, u, folded.product, value=-1)
    return back, dp, dw


def dense(blocks: Tensor, targets: int, shared: bool) -> Tensor:
    """Blocks (J F, p, q) as one matrix (J F q or, if shared, J q, F p) from features to outputs."""
    b, p, q = blocks.shape
    if shared:
        return blocks.view(-1, targets * p, q).mT.reshape(-1, targets * p)
    if b == 1:
        return blocks[0].t()
    if b == targets:  # every block has its own columns on both sides
        matrix = blocks[:, :, None, :] * eye_matrix(b, blocks.dtype, blocks.device)[:, None, :, None]
        return matrix.reshape(b * p, b * q).t()
    matrix = blocks.new_zeros(b // targets, targets, q, targets, p)
    matrix.diagonal(dim1=1, dim2=3).copy_(blocks.view(-1, targets, p, q).permute(0, 3, 2, 1))
    return matrix.view(b * q, targets * p)


def tall_product(a: Tensor, b: Tensor) -> Tensor:
    """a^T b (p, q) of matrices with many rows, (M, p) and (M, q), as a sum over chunks of rows.

    In one sum over all rows, single precision would lose up to three digits; a GPU computes all chunks at once.
    """
    rows = a.shape[0]
    while rows > CHUNK and rows % 2 == 0:
        rows //= 2
    if rows == a.shape[0]:
        return a.t() @ b
    return torch.bmm(a.unflatten(0, (-1, rows)).mT, b.unflatten(0, (-1, rows))).sum(0)


@cache
def eye_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The identity (size, size), made once."""
    return torch.eye(size, dtype=dtype, device=device)


def _row_products(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (B, p) of the rows of a and b (B, p, q)."""
    return torch.bmm(a.reshape(-1, 1, a.shape[2]), b.reshape(-1, b.shape[2], 1)).view(a.shape[:2])


def _blocks(features: Sequence[Features], targets: int, parts: Sequence[Tensor]) -> Tensor:
    """Join the parts of each matrix of features to (B, ...); parts of shared features are repeated for every target."""
    joined = [
        part[:, None].expand(-1, targets, -1, -1).flatten(0, 1) if f.shared and targets > 1 else part
        for f, part in zip(features, parts, strict=True)
    ]
    return _cat(joined)


def moments(a: Tensor, q: int) -> Moments:
    """Means and Gram matrices of the blocks of q columns of a matrix (M, B q)."""
    return a.mean(0).view(-1, q, 1), _cat(_diagonal_blocks(a, a, q, q))


def _cat(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _slices(blocks: Tensor, targets: int, features: Features) -> list[_Slice]:
    """Blocks (B', p, q) as one dense matrix or, as it may be mostly zero, as one for each j and a few targets."""
    b, p, q = blocks.shape
    targets = min(targets, b)
    step = _joined(blocks, max(p, q), targets)
    if features.shared or step >= targets:
        results = slice(features.first * p, (features.first + targets) * p)
        return [_Slice(slice(None), results, dense(blocks, targets, features.shared))]
    slices = []
    for start in range(0, b, targets):
        for first in range(0, targets, step):
            stop = min(first + step, targets)
            columns = slice((start + first) * q, (start + stop) * q)
            results = slice((features.first + first) * p, (features.first + stop) * p)
            piece = blocks[start + first : start + stop]
            slices.append(_Slice(columns, results, dense(piece, len(piece), shared=False)))
    return slices


def _joined(like: Tensor, width: int, most: int) -> int:
    """How many blocks of that width, with columns of their own on both sides, are one dense product where `like` is."""
    columns = CPU_COLUMNS if like.is_cpu else GPU_COLUMNS
    return min(max(1, columns // width), most)


class _Columns:
    """Columns of a matrix, which a CPU copies before it reads them several times."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.copies: dict[tuple[int, int], Tensor] = {}

    def take(self, columns: slice) -> Tensor:
        if not self.matrix.is_cpu or columns.stop - columns.start == self.matrix.shape[1]:
            return self.matrix[:, columns]
        key = columns.start, columns.stop
        if key not in self.copies:
            self.copies[key] = self.matrix[:, columns].contiguous()
        return self.copies[key]


def _multiply_transposed(gradient: _Columns, slices: list[_Slice], bias: Tensor | None) -> Tensor:
    """Gradient (M, F p) of the output to that of the features, plus a bias per feature."""
    if bias is None:
        bias = slices[0].matrix.new_zeros(sum(s.matrix.shape[0] for s in slices))
    if len(slices) == 1:
        return torch.addmm(bias, gradient.take(slices[0].results), slices[0].matrix.t())
    out = bias.new_empty(gradient.matrix.shape[0], len(bias))
    for columns, results, matrix in slices:
        torch.addmm(bias[columns], gradient.take(results), matrix.t(), out=out[:, columns])
    return out


def _split(stack: Tensor, features: Sequence[Features], targets: int) -> Sequence[Tensor]:
    """Split (B, ...) into the parts of each matrix of features."""
    if len(features) == 1:
        return [stack]
    widths = [a.shape[1] * (targets if shared else 1) for a, shared, *_ in features]
    return stack.split([width * stack.shape[0] // sum(widths) for width in widths])


def _products(gradient: _Columns, features: Features, targets: int, p: int, q: int) -> list[Tensor]:
    """gradient^T A, as blocks (B, p, q) in one or several parts."""
    a, shared, _, first = features
    count = targets if shared else min(targets, a.shape[1] // q)
    mine = gradient.take(slice(first * p, (first + count) * p))
    if not shared and (a.shape[1] == count * q or _joined(a, max(p, q), count) < count):
        return [part for columns in a.split(count * q, 1) for part in _diagonal_blocks(mine, columns, p, q)]
    product = tall_product(mine, a)
    if shared:
        return [product.view(targets, p, -1, q).permute(2, 0, 1, 3).reshape(-1, p, q)]
    blocks = product.view(count, p, -1, count, q).diagonal(dim1=0, dim2=3)  # (p, J, q, F)
    return [blocks.permute(1, 3, 0, 2).reshape(-1, p, q)]


def _diagonal_blocks(a: Tensor, b: Tensor, p: int, q: int) -> list[Tensor]:
    """Diagonal blocks (B, p, q) of a^T b, for a (M, B p) and b (M, B q), in one or several parts."""
    step = _joined(a, max(p, q), a.shape[1] // p)
    if step == 1:
        pairs = zip(a.split(p, dim=1), b.split(q, dim=1), strict=True)
        return [tall_product(x, y)[None] for x, y in pairs]
    return [
        tall_product(x, y).view(x.shape[1] // p, p, -1, q).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        for x, y in zip(a.split(step * p, dim=1), b.split(step * q, dim=1), strict=True)
    ]


def _add_block_product(out: Tensor, a: Tensor, blocks: Tensor, factor: float) -> Tensor:
    """Add a factor times a (M, B q) times its symmetric blocks (B, q, q) to out (M, B q), in place."""
    q = blocks.shape[1]
    step = _joined(blocks, q, len(blocks))
    for columns, x, piece in zip(out.split(step * q, 1), a.split(step * q, 1), blocks.split(step), strict=True):
        columns.addmm_(x, dense(piece, len(piece), shared=False), alpha=factor)
    return out
