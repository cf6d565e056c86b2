import re
from pathlib import Path

import protoquant.pages
from protoquant.pages import palette


def test_drawings_have_the_colours_of_the_pages() -> None:
    style = Path(protoquant.pages.__path__[0], "base.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--([\w-]+): (#\w{6});", style.split("@media")[0]))
    named = {name: getattr(palette, name.upper()) for name in ("ink", "quiet", "line", "accent")}
    assert {name: light[name] for name in named} == named
