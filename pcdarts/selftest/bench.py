"""What every part of the self-test works with: the device, sizes, a clock, and tables to add rows to."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from pcdarts.selftest.results import Row, Value


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the parts are; the defaults are for a GPU and follow the official CIFAR-10 search."""

    channels: int = 16
    """Channels C of the super-network."""
    layers: int = 8
    """Cells of the super-network."""
    image_size: int = 32
    """Height and width of images, pixels."""
    batches: tuple[int, ...] = (64, 256)
    """Images of a step, for the table of steps; the last one is that of the whole search."""
    short_layers: int = 3
    """Cells of the short searches that are repeated."""
    short_images: int = 640
    """Images of these searches; half of them train the weights."""
    short_batches: tuple[int, ...] = (64, 48)
    """Batch sizes of these searches: one divides half of the images, one leaves a smaller last batch."""
    search_images: int = 12_800
    """Images of the search that a whole one is extrapolated from; half of them train the weights."""
    memory_batches: int = 6
    """Steps of a search whose memory is measured."""
    repetitions: int = 10
    """Measurements of a time, of which the median is kept."""
    copied_bytes: int = 2**30
    """Bytes of the copy that measures bandwidth."""
    product_side: int = 8192
    """Rows and columns of the matrices whose product measures arithmetic."""
    call_images: int = 256
    """Images of single calls."""
    call_channels: tuple[int, ...] = (48, 96)
    """Channels of single calls."""
    share_seconds: float = 6.0
    """Time for which processes that share the device are counted, seconds."""
    network_channels: int = 36
    """Channels of the CIFAR-10 network that is retrained."""
    network_layers: int = 20
    """Cells of the CIFAR-10 network that is retrained."""
    network_batch: int = 96
    """Images of its step."""
    imagenet_channels: int = 48
    """Channels of the ImageNet network."""
    imagenet_layers: int = 14
    """Cells of the ImageNet network."""
    imagenet_batch: int = 128
    """Images of its step."""
    imagenet_size: int = 224
    """Height and width of its images, pixels."""
    array_images: int = 50_000
    """Images held in memory whose loading is measured."""
    files: int = 1024
    """Image files whose loading is measured."""
    file_size: tuple[int, int] = (500, 375)
    """Width and height of the image files, pixels."""


SMALL = Sizes(
    channels=4,
    layers=3,
    image_size=8,
    batches=(8,),
    short_images=24,
    short_batches=(8,),
    search_images=32,
    memory_batches=2,
    repetitions=2,
    copied_bytes=2**24,
    product_side=512,
    call_images=8,
    call_channels=(16,),
    share_seconds=0.5,
    network_channels=4,
    network_layers=3,
    network_batch=8,
    imagenet_channels=4,
    imagenet_layers=3,
    imagenet_batch=2,
    imagenet_size=64,
    array_images=256,
    files=16,
    file_size=(160, 120),
)
"""Sizes for a CPU: they check that everything runs, and their times say little."""


class Bench:
    """A device with its sizes, the time that is left, and the tables of one part."""

    def __init__(
        self,
        device: torch.device,
        sizes: Sizes,
        *,
        deadline: float,
        official: Path | None = None,
        rows_file: Path | None = None,
    ) -> None:
        """`deadline` is a time of `time.monotonic`; rows are also appended to `rows_file`, so that none is lost."""
        self.device, self.sizes, self.official = device, sizes, official
        self.tables: dict[str, list[Row]] = {}
        self.costs: dict[str, float] = {}
        self._deadline, self._rows_file = deadline, rows_file

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def seconds_left(self) -> float:
        """Seconds until the time of the self-test is used up."""
        return self._deadline - time.monotonic()

    def add(self, table: str, **row: Value) -> None:
        """Add a row to the table of this caption."""
        self.tables.setdefault(table, []).append(row)
        if self._rows_file is not None:
            with self._rows_file.open("a") as file:
                file.write(json.dumps([table, row]) + "\n")

    def seconds(self, call: Callable[[], object], *, warmups: int = 1, repetitions: int = 0) -> float:
        """Median time of a call after warm-up calls: between events of a GPU's stream, or by the clock on a CPU."""
        for _ in range(warmups):
            call()
        times = []
        if not self.on_gpu:
            for _ in range(repetitions or self.sizes.repetitions):
                started = time.perf_counter()
                call()
                times.append(time.perf_counter() - started)
            return statistics.median(times)
        torch.cuda.synchronize(self.device)
        events = []
        for _ in range(repetitions or self.sizes.repetitions):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            events.append((start, end))
        torch.cuda.synchronize(self.device)
        return statistics.median(start.elapsed_time(end) for start, end in events) / 1000

    def normal(self, *shape: int, seed: int = 0) -> torch.Tensor:
        """Normal random numbers of this shape, drawn on the device."""
        generator = torch.Generator(self.device).manual_seed(seed)
        return torch.randn(shape, generator=generator, device=self.device)

    def labels(self, images: int, classes: int = 10, seed: int = 1) -> torch.Tensor:
        """Random labels (images,), drawn on the device."""
        generator = torch.Generator(self.device).manual_seed(seed)
        return torch.randint(classes, (images,), generator=generator, device=self.device)


@contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Context in which matrix products and convolutions of a GPU use TF32, or do not; no effect on a CPU."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def rows_of(file: Path) -> dict[str, list[Row]]:
    """The tables in a file of rows that `Bench.add` wrote; without the last line if it was cut off."""
    tables: dict[str, list[Row]] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            table, row = json.loads(line)
        except ValueError:
            break
        tables.setdefault(table, []).append(row)
    return tables
