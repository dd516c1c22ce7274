"""The install step of the Runtime component: `python3 install.py WORK_FOLDER`.

Its own syntax is that of any Python 3, without annotations, so that one that is too old gets a sentence and no
SyntaxError.
"""

import json
import os
import sys


def main():  # type: ignore[no-untyped-def]
    package = os.path.dirname(os.path.abspath(__file__))
    bundle = os.path.dirname(package)
    with open(os.path.join(bundle, "board.json")) as file:
        board = json.load(file)
    found = "%d.%d" % sys.version_info[:2]
    if found != board["python"]:
        sys.stderr.write(
            'emflow: this board has Python %s, and the packages are for Python %s; write python: "%s" under '
            "edge.board of the workflow, run `emflow lock`, and apply again\n" % (found, board["python"], found)
        )
        return 1
    sys.path.insert(0, bundle)
    from emflow_runtime.installation import run

    return run(bundle, board, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[no-untyped-call]
