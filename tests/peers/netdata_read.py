"""Print what the Python package xmi-reader makes of NETDATA streams: a line of JSON for each file named.

    {"files": {name: {"hex", "text", "members": {name: {"hex", "text"}}}}, "message": text or null}
    {"error": why it cannot be read}

With --time before the file: the seconds that it takes to read and convert. Run by tests/netdata.rs and benches/netdata.rs, with
`python -I`: the file ebcdic.py beside this one is not the package of that name, which xmi-reader needs.
"""

import io
import json
import sys
import time
from contextlib import redirect_stdout

import xmi


def opened(path):
    # Its text is wanted whatever it takes the content for, and all columns of it.
    stream = xmi.XMIT(filename=path, quiet=True, unnum=False, encoding="cp1047")
    stream.set_force()
    stream.open()
    return stream


def both(entry):
    data = entry.get("data", b"")
    octets = b"".join(data) if isinstance(data, list) else data
    return {"hex": octets.hex(), "text": entry.get("text")}


def seen(stream):
    files = {}
    for name in stream.get_files():
        entry = stream.xmit["file"][name]
        members = entry.get("members", {})
        files[name] = both(entry) | {"members": {member: both(members[member]) for member in members}}
    message = stream.get_message() if stream.has_message() else None
    return {"files": files, "message": message}


def read(path):
    with redirect_stdout(io.StringIO()):
        return seen(opened(path))


def main():
    if sys.argv[1] == "--time":
        began = time.perf_counter()
        read(sys.argv[2])
        print(time.perf_counter() - began)
        return
    for path in sys.argv[1:]:
        try:
            found = read(path)
        except Exception as error:
            found = {"error": repr(error)}
        print(json.dumps(found))


main()
