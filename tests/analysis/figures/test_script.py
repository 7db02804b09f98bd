"""The script that draws charts: bundled once, then kept."""

import vl_convert

from analysis.figures.script import vega_script


def test_the_script_is_kept_and_made_again_where_it_cannot_be(tmp_path, monkeypatch):
    made = []

    def bundle():
        made.append("x")
        return f"/* {len(made)} */"

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make = vega_script.__wrapped__
    assert make() == make() == "(() => {/* 1 */})();"
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert make() == "(() => {/* 2 */})();" and len(made) == 2
