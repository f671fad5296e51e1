"""A process that runs export jobs: one JSON line in, one out.

The converter is native code that may end its process; here it takes none of the user's with it.
"""

import json
import os
import sys
from typing import TextIO, TypedDict

from oekd_tf.core.errors import ExportError
from oekd_tf.core.processes import end_with_parent
from oekd_tf.core.records import KindFacts
from oekd_tf.export.run_one import Job, run_job


class Answer(TypedDict, total=False):
    """What came of a job: one of the three.

    Attributes:
        facts: Facts of the file for the manifest, of `run_job`.
        refused: Why there is no file, where the student or the file is at fault.
        failed: Why there is no file, where the machine is at fault.
    """

    facts: KindFacts
    refused: str
    failed: str


def answer(job: Job) -> Answer:
    """Runs a job; what is expected to go wrong is part of the answer.

    Args:
        job: What to make.

    Returns:
        What came of it.
    """
    try:
        return {"facts": run_job(job)}
    except ExportError as error:
        return {"refused": str(error)}
    except OSError as error:
        return {"failed": f"{job.path} and its neighbours must be writable. Received: {error}"}
    except Exception as error:  # Of LiteRT, ONNX Runtime and the converters: many classes.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return {"refused": f"The file {job.name} was written but does not run: {reason}"}


def _serve(given: TextIO, taken: TextIO) -> None:
    for line in given:
        taken.write(json.dumps(answer(Job(*json.loads(line)))) + "\n")
        taken.flush()


if __name__ == "__main__":
    end_with_parent()
    # Answers have a pipe of their own, so that nothing a library prints is taken for one.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        _serve(sys.stdin, answers)
