"""A fast super-network that equals `pcdarts.supernet` but for rounding."""
