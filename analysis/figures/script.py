"""The script that draws charts in a browser."""

import contextlib
import os
from functools import cache
from importlib import metadata
from pathlib import Path

from pcdarts.training.atomic_write import replace_file


@cache
def vega_script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one classic script of 0.9 MB, which sets `vega` and `vegaEmbed`.

    It loads nothing.  Draw with `vegaEmbed(element, spec, {mode: "vega-lite", ast: true, renderer: "svg", actions:
    false})`: `ast` needs no `unsafe-eval`, and only SVG knows CSS variables.  Bundling takes seconds, so the script is
    kept in `$XDG_CACHE_HOME/pcdarts`.
    """
    name = f"vega-{metadata.version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, RuntimeError, UnicodeDecodeError):  # none is kept, or there is no home folder
        return (_cache_folder() / name).read_text("utf-8")
    import vl_convert

    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # the stub lacks the default
    script = f"(() => {{{bundle}}})();"  # its hundreds of short names would become names of the page
    with contextlib.suppress(OSError, RuntimeError):
        replace_file(_cache_folder() / name, script.encode())
    return script


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pcdarts")
