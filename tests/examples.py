"""The Python examples of a page of the documentation."""

import re

from tests.tiny import ROOT

PAGE = ROOT / "docs" / "use.md"


def examples(page=PAGE):
    """Code by the heading that it stands under; numbered where there are several."""
    found = {}
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE), 1):
            found[f"{heading} {number}" if number > 1 else heading] = code
    return found
