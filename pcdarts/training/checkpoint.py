"""Checkpoints: the whole state of a search or a retraining in one file, written atomically."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from pcdarts.training.atomic_write import replace_file


def load_moments(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Restore what an optimizer remembers of its steps, from a state dict that may come from another kind of device.

    Hyper-parameters stay as they are: on a GPU an optimizer is fused, and its learning rate is a tensor.
    """
    optimizer.load_state_dict({"state": saved["state"], "param_groups": optimizer.state_dict()["param_groups"]})


class CheckpointFile:
    """One checkpoint in a local file.  Subclasses put it elsewhere by overriding `read_bytes` and `write_bytes`."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)

    def save(self, state: dict[str, Any]) -> None:
        """Write tensors, numbers, strings and containers of them; a reader sees the old or the new file."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.write_bytes(buffer.getvalue())

    def load(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """The saved state, on the CPU; None if nothing was saved yet.

        Raises ValueError for a broken file, and for one written with another configuration.
        """
        state = self.read()
        if state is None:
            return None
        saved = state["config"]
        if saved != config:
            differing = sorted(key for key in saved.keys() | config.keys() if saved.get(key) != config.get(key))
            raise ValueError(
                f"checkpoint {self.path} was written with another configuration ({', '.join(differing)} differ); "
                "remove it or name another file"
            )
        return state

    def read(self) -> dict[str, Any] | None:
        """The saved state of any configuration, on the CPU; None if nothing was saved yet.

        Only tensors and plain values are read (`weights_only=True`): a checkpoint cannot run code.  Raises ValueError
        for a broken file.
        """
        data = self.read_bytes()
        if data is None:
            return None
        try:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            state["config"]
        except (
            pickle.UnpicklingError,
            RuntimeError,
            EOFError,
            KeyError,
            TypeError,
            ValueError,
            zipfile.BadZipFile,
        ) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"checkpoint {self.path} is broken ({reason}); remove it to start over") from None
        return dict(state)

    def read_bytes(self) -> bytes | None:
        """The content of the file; None if it does not exist."""
        try:
            return Path(self.path).read_bytes()
        except FileNotFoundError:
            return None

    def write_bytes(self, data: bytes) -> None:
        """Replace the file's content in one step that survives a crash."""
        replace_file(self.path, data)
