"""Lists the public items of a crate, one per line, from the pages that `cargo doc` makes of it.

    python3 public_api.py DIRECTORY_OF_THE_CRATE

Items that documentation hides are not public, nor are the private files that public items are in. A line has the declaration of an item, a
field, a variant or a method; of implemented traits only those are listed that callers write code against.
"""

import html
import re
import sys
from pathlib import Path

SHOWN_TRAITS = ("From<", "Into<", "Iterator", "ExactSizeIterator", "FusedIterator", "Error", "FromStr", "Default", "Clone", "Copy")
ITEM = re.compile(r"(struct|enum|trait|fn|constant|type|macro)\.(\w+)\.html")


def text(markup):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", markup)).split())


def members(page):
    """The fields, variants and methods of a type, and the traits it has."""
    own = page.split('id="trait-implementations"')[0]
    for found in re.finditer(r'<span id="structfield\.[^"]*"[^>]*>.*?<code>(.*?)</code>', own, re.S):
        yield "field " + text(found[1])
    for found in re.finditer(r'<section id="variant\.[^"]*"[^>]*>.*?<h3 class="code-header">(.*?)</h3>', own, re.S):
        yield "variant " + text(found[1])
    for found in re.finditer(r'<span id="variant\.\w+\.field\.[^"]*"[^>]*>.*?<code>(.*?)</code>', own, re.S):
        yield "field of a variant " + text(found[1])
    pattern = r'<section id="(?:method|tymethod|associatedconstant|associatedtype)\.[^"]*"[^>]*>.*?<h4 class="code-header">(.*?)</h4>'
    for found in re.finditer(pattern, own, re.S):
        yield text(found[1])
    for found in re.finditer(r'<section id="impl-[^"]*"[^>]*>.*?<h3 class="code-header">(.*?)</h3>', page, re.S):
        line = text(found[1])
        name = re.match(r"impl(?:<.*?>)? (.*?) for ", line)
        is_blanket = re.search(r" for T( |$)", line)
        if name and not is_blanket and name[1].startswith(SHOWN_TRAITS):
            yield line


def main():
    root = Path(sys.argv[1])
    lines = set()
    for path in root.rglob("*.html"):
        module = "::".join([root.name, *path.relative_to(root).parent.parts])
        page = path.read_text(encoding="utf-8")
        item = ITEM.fullmatch(path.name)
        if item:
            kind, name = item.groups()
            declaration = re.search(r'<pre class="rust [^"]*item-decl">(.*?)</pre>', page, re.S)
            if declaration is None:
                # It leads on from the file where an item is to the module that exports it.
                continue
            declared = text(declaration[1]) if kind in ("fn", "constant", "type") else kind
            lines.add(f"{module}::{name} | {declared}")
            if kind in ("struct", "enum", "trait"):
                lines.update(f"{module}::{name} | {member}" for member in members(page))
        elif path.name == "index.html":
            for found in re.finditer(r'id="reexport\.[^"]*"[^>]*>(?:<[^>]*>)*<code>(.*?)</code>', page, re.S):
                lines.add(f"{module} | {text(found[1])}")
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
