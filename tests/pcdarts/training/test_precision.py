"""TF32 is a matter of the training, not of the process."""

import pytest
import torch

from pcdarts.training.precision import tf32_products


def allowed():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("before", [(False, False), (False, True), (True, True)])
def test_tf32_holds_inside_and_is_as_before_outside(before):
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    usual = allowed()
    products.allow_tf32, convolutions.allow_tf32 = before
    try:
        with tf32_products(True):
            assert allowed() == (True, True)
            with pytest.raises(KeyError), tf32_products(False):
                assert allowed() == (False, False)
                raise KeyError
            assert allowed() == (True, True)
        assert allowed() == before
    finally:
        products.allow_tf32, convolutions.allow_tf32 = usual
