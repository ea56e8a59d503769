"""Have the Python package xmi-reader write NETDATA streams: one for every line of JSON on standard input.

Each line has the keyword arguments of `create_xmi`; `output_file` says where the stream goes. Run by tests/netdata.rs,
with `python -I`: the file ebcdic.py beside this one is not the package of that name, which xmi-reader needs.
"""

import json
import sys

import xmi

for line in sys.stdin:
    xmi.create_xmi(**json.loads(line))
