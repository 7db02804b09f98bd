"""`pcdarts complexity` and `export`: what a network costs, and the network of a retrained job."""

import argparse

from orchestrator.commands.parser import Parser


def add_parsers(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the two commands."""
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

    exporting = commands.add_parser("export", help="write the network of a retrained job: weights, cells, model card")
    exporting.add_argument("study_dir", metavar="STUDY", help="folder or URI of the study")
    exporting.add_argument("job", metavar="JOB", help="job of the queue, as `pcdarts queue` prints it, or a prefix")
    exporting.add_argument("out_dir", metavar="OUT_DIR", help="folder to write to, new or empty")
    exporting.add_argument("--onnx", action="store_true", help="also model.onnx, checked against PyTorch")
    exporting.add_argument(
        "--ema", action="store_true", help="the moving average of the weights (recipes with ema_decay)"
    )
    exporting.set_defaults(command=_export)


def _complexity(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.network_cost import complexity_text
    from pcdarts.genotype import read_genotype

    names = ("channels", "layers", "classes", "stem", "input")
    sizes = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    print(complexity_text(read_genotype(arguments.genotype), arguments.recipe, sizes))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.export_job import export_job

    for path in export_job(
        arguments.study_dir, arguments.job, arguments.out_dir, onnx=arguments.onnx, ema=arguments.ema
    ):
        print(f"wrote {path}")
    return 0
