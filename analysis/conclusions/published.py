"""Published results, for orientation."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A published result."""

    method: str
    """Method, with its variant."""
    dataset: str
    """Data set of the test error."""
    test_error: float
    """Test error (ImageNet: top-1 on the validation set); percent."""
    deviation: float
    """Published deviation; NaN if none was published."""
    top5_error: float
    """Top-5 error; NaN if none was published."""
    parameters: float
    """Parameters; millions."""
    gpu_days: float
    """Published search cost; GPU-days, NaN if none was published."""
    source: str
    """Paper and table."""
    protocol: str
    """How the network was trained and tested."""
    differs: str = ""
    """In what the protocol differs from this study's reported numbers; empty if it does not."""
