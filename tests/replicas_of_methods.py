"""Trains by each method on two replicas and on one device, in one process, and compares.

    python tests/replicas_of_methods.py CASES.json

A process has one MirroredStrategy: a process for each method would load TensorFlow as often.
"""

import json
import sys

import methods_for_tests  # noqa: F401

from oekd_tf import testing

if __name__ == "__main__":
    for name, arguments in json.loads(sys.argv[1]):
        try:
            testing._replicas(testing._Case(name, arguments, (1.0, 0.5, 0.25)))
        except AssertionError as error:
            sys.exit(f"{name} {arguments}: {error}")
        print(f"passed {name} {json.dumps(arguments)}", flush=True)
