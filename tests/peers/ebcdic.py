"""Print what the Python codec of each page named makes of every byte: `page code code ...`, or `page none`.

Run by tests/tables.rs as a second opinion on the tables. A byte that the codec leaves undefined is `-`.
"""

import codecs
import sys

for page in sys.argv[1:]:
    try:
        codec = codecs.lookup("cp" + page)
    except LookupError:
        print(page, "none")
        continue
    row = []
    for byte in range(256):
        try:
            row.append(f"{ord(codec.decode(bytes([byte]))[0]):04X}")
        except UnicodeDecodeError:
            row.append("-")
    print(page, *row)
