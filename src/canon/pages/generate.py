#!/usr/bin/env python3
"""Write src/canon/pages.rs: what each byte of each EBCDIC page means, taken from the iconv of glibc.

    python3 src/canon/pages/generate.py > src/canon/pages.rs
    python3 src/canon/pages/generate.py --check        # exit 1 when pages.rs differs

The tables are mapping facts. One change is made to every page: 15 is the end of a line (U+000A) and 25 is
U+0085, as z/OS UNIX has them; glibc has these two the other way round. A page that is not a bijection of 256
bytes, or that lacks an ASCII character, is an error here: the converter relies on both.
"""

import pathlib
import subprocess
import sys

PAGES = ["1047", "037", "273", "277", "278", "280", "284", "285", "297", "500", "870", "871", "1026"]
PAGES += [str(number) for number in range(1140, 1150)]


def table(page):
    """The 256 code points of a page."""
    run = subprocess.run(
        ["iconv", "-f", "IBM" + page, "-t", "UTF-16BE"], input=bytes(range(256)), capture_output=True, check=True
    )
    codes = [int.from_bytes(run.stdout[i : i + 2], "big") for i in range(0, len(run.stdout), 2)]
    assert len(codes) == 256 and len(set(codes)) == 256, f"{page} is not a bijection"
    assert set(range(128)) <= set(codes), f"{page} lacks an ASCII character"
    assert (codes[0x15], codes[0x25]) == (0x85, 0x0A), f"{page} has other line ends"
    codes[0x15], codes[0x25] = 0x0A, 0x85
    return codes


def write():
    yield "//! What each byte of each EBCDIC page means: 256 code points a page, 15 = U+000A, 25 = U+0085 (see `page.rs`)."
    yield "//!"
    yield "//! Written by `pages/generate.py` from the tables of glibc 2.36; do not edit. Holds facts only, no logic."
    for page in PAGES:
        codes = table(page)
        yield ""
        yield f"/// IBM-{page}."
        yield "#[rustfmt::skip]"
        yield f"pub(super) static IBM_{page}: [u16; 256] = ["
        for row in range(0, 256, 16):
            yield "    " + " ".join(f"0x{code:04X}," for code in codes[row : row + 16])
        yield "];"


def main():
    text = "\n".join(write()) + "\n"
    if sys.argv[1:] == ["--check"]:
        there = pathlib.Path(__file__).resolve().parent.parent / "pages.rs"
        if there.read_text() != text:
            sys.exit(f"{there} is not what this script writes")
        return
    sys.stdout.write(text)


main()
