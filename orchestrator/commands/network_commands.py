"""`pcdarts complexity`, `draw`, `export` and `evaluate`: what a network costs, its cells, and trained networks."""

import argparse
import json
from pathlib import Path

from analysis.drawing.svg_files import FILE_FORMATS
from orchestrator.commands.arguments import add_study_dir, path
from orchestrator.commands.parser import Parser

DRAWN = f"file to write, its format by its ending: {', '.join(f'.{each}' for each in FILE_FORMATS)} (default: cell.svg)"


def add_parsers(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the four commands."""
    counting = commands.add_parser("complexity", help="count weights, multiply-adds and activations of a network")
    counting.add_argument(
        "genotype", metavar="GENOTYPE", help="a published name, a genotype's text, or its file (-: stdin)"
    )
    counting.add_argument("--recipe", choices=("cifar10", "imagenet"), default="imagenet", help="sizes (imagenet)")
    counting.add_argument("--input", type=int, metavar="PIXELS", help="height and width of images (the recipe's)")
    for name, text in (("channels", "channels of the first cell"), ("layers", "cells"), ("classes", "classes")):
        counting.add_argument(f"--{name}", type=int, metavar="INT", help=f"{text} (default: the recipe's)")
    counting.add_argument("--stem", choices=("cifar", "imagenet"), help="first layers (default: the recipe's)")
    counting.set_defaults(command=_complexity)

    drawing = commands.add_parser("draw", help="draw the cells of a genotype as SVG, PDF or PNG")
    drawing.add_argument(
        "genotype", metavar="GENOTYPE", help="a published name, a genotype's text, or its file (-: stdin)"
    )
    drawing.add_argument("-o", "--output", metavar="FILE", default="cell.svg", help=DRAWN)
    drawing.add_argument("--cell", choices=("normal", "reduce"), help="draw one of the two cells only (default: both)")
    drawing.set_defaults(command=_draw)

    exporting = commands.add_parser("export", help="write the network of a retrained job: weights, cells, model card")
    add_study_dir(exporting)
    exporting.add_argument("job", metavar="JOB", help="job of the queue, as `pcdarts queue` prints it, or a prefix")
    exporting.add_argument("out_dir", metavar="OUT_DIR", type=path, help="folder to write to, new or empty")
    exporting.add_argument("--onnx", action="store_true", help="also model.onnx, checked against PyTorch")
    exporting.add_argument(
        "--ema", action="store_true", help="the moving average of the weights (recipes with ema_decay)"
    )
    exporting.set_defaults(command=_export)

    evaluating = commands.add_parser("evaluate", help="test an exported network on the test images of a data set")
    evaluating.add_argument("network", metavar="DIR", help="folder that `pcdarts export` wrote, or hf://OWNER/NAME")
    evaluating.add_argument("--dataset", required=True, metavar="NAME", help="data set: cifar10, folder, arrays, ...")
    evaluating.add_argument(
        "--data-dir", default="data", type=path, metavar="DIR", help="folder that holds the data set (data)"
    )
    evaluating.add_argument("--batch-size", type=int, default=96, metavar="N", help="images per pass (96)")
    evaluating.add_argument("--device", default="auto", help="auto (a GPU if available), cpu, cuda or cuda:N")
    evaluating.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (1)")
    evaluating.add_argument("--json", action="store_true", help="print one JSON object")
    evaluating.set_defaults(command=_evaluate)


def _complexity(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.network_cost import complexity_text
    from pcdarts.genotype import read_genotype

    names = ("channels", "layers", "classes", "stem", "input")
    sizes = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    print(complexity_text(read_genotype(arguments.genotype), arguments.recipe, sizes))
    return 0


def _draw(arguments: argparse.Namespace) -> int:
    from analysis.drawing.cell_svg import draw_cells
    from analysis.drawing.svg_files import svg_file
    from pcdarts.genotype import read_genotype

    file = Path(arguments.output)
    form = next((each for each in FILE_FORMATS if file.suffix.lower() == f".{each}"), None)
    if form is None:
        endings = ", ".join(f".{each}" for each in FILE_FORMATS)
        raise ValueError(f"-o is {arguments.output!r}, but must end in one of {endings}")
    cells = (arguments.cell,) if arguments.cell else ("normal", "reduce")
    file.write_bytes(svg_file(draw_cells(read_genotype(arguments.genotype), cells), form))
    print(f"wrote {file}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.export_job import export_job

    for file in export_job(
        arguments.study_dir, arguments.job, arguments.out_dir, onnx=arguments.onnx, ema=arguments.ema
    ):
        print(f"wrote {file}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from analysis.statistics.proportions import sampling_interval
    from pcdarts.export import measure_accuracy
    from pcdarts.network import CellNetwork

    if arguments.batch_size < 1:
        raise ValueError(f"--batch-size is {arguments.batch_size}, but must be at least 1")
    network = CellNetwork.from_pretrained(arguments.network)
    found = measure_accuracy(
        network,
        arguments.dataset,
        arguments.data_dir,
        batch_size=arguments.batch_size,
        device=arguments.device,
        threads=arguments.threads,
    )
    interval = sampling_interval(found.accuracy, found.images)
    if arguments.json:
        print(json.dumps({"dataset": arguments.dataset, **found._asdict(), "low": interval.low, "high": interval.high}))
    else:
        top5 = "" if found.top5 is None else f", top-5 {found.top5:.2f} %"
        print(
            f"{arguments.dataset}: accuracy {found.accuracy:.2f} % of {found.images:,} test images "
            f"(95 % interval {interval.low:.2f} to {interval.high:.2f}){top5}, loss {found.loss:.4f}"
        )
    return 0
