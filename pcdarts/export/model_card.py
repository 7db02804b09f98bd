"""The model card of an exported network, with the metadata that the Hugging Face hub reads."""

from collections.abc import Mapping
from typing import Any

import yaml

from pcdarts.genotype import Genotype

TAGS = ("image-classification", "neural-architecture-search", "pc-darts")


def model_card(
    genotype: Genotype,
    *,
    name: str,
    results: Mapping[str, Any],
    recipe: Mapping[str, Any],
    images: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> str:
    """The model card in Markdown: cells, results, recipe, images (if described), origin, use and limits."""
    described = f"## Images\n\n{_table(images)}\n" if images else ""
    use = _WITH_IMAGES if images else _WITHOUT_IMAGES
    return f"""---
{yaml.safe_dump(_metadata(name, results, recipe), sort_keys=False, width=120)}---

# {name}

A network with cells found by an architecture search ({genotype.digest}), trained from scratch.

    {genotype}

## Results

{_table(results)}
One training with one seed: other seeds give other accuracies. The validation accuracy selected the epoch, and the test
set was evaluated once, with the weights of that epoch. Multiply-adds are counted for one image in convolutions and
linear layers, without the auxiliary head.

## Recipe

{_table(recipe)}
{described}## Origin

{_table(origin)}
## Use

{use}
`model.safetensors` holds weights and running statistics without the auxiliary head, `config.json` cells, sizes and how
images are prepared, `genotype.json` the cells alone.

## Limits

The network classifies images like those of its training set into the classes of that set. It was not evaluated on other
data, on corrupted images or on subgroups. The cells were chosen by a search: a fair comparison with other networks
includes the cost of the search and its other seeds.
"""


_WITH_IMAGES = """```python
from PIL import Image

from pcdarts.network import CellNetwork

network = CellNetwork.from_pretrained(".")  # this folder, or hf://OWNER/NAME
logits = network(network.preprocess(Image.open("image.png")))
print(network.labels[logits.argmax()])
```
"""
_WITHOUT_IMAGES = """```python
from pcdarts.network import CellNetwork

network = CellNetwork.from_pretrained(".")  # this folder, or hf://OWNER/NAME
logits = network(images)  # (N, C, H, W), normalized as in training
```
"""


def _metadata(name: str, results: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What the hub shows and searches; accuracies are shares there, not percent."""
    dataset = str(recipe.get("dataset", "unknown"))
    metrics = [
        {"type": "accuracy", "value": round(results[column] / 100, 6), "name": title}
        for column, title in (
            ("test_accuracy", "test accuracy"),
            ("ema_test_accuracy", "test accuracy of the averaged weights"),
        )
        if results.get(column) is not None
    ]
    task = {"type": "image-classification", "name": "Image classification"}
    described = {"name": dataset, "type": dataset, "split": "test"}
    return {
        "library_name": "pcdarts",
        "pipeline_tag": "image-classification",
        "tags": list(TAGS),
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [{"task": task, "dataset": described, "metrics": metrics}]}],
    }


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {key} | {_cell(value)} |\n" for key, value in rows.items() if value is not None]
    return f"| | |\n|---|---|\n{''.join(lines)}"


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 100_000:
        return f"{value:,}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
