"""A program that gnomon is measured beside, in its own environment: a process that answers a line with a line."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from gnomon.common.errors import JobFailed


class PeerProcess:
    """script, run by an environment's python on so many threads. name: for messages."""

    def __init__(self, python: Path, script: str, name: str, threads: int) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (it lives as long as the process)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [str(python), "-I", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment,
        )  # fmt: skip

    def answer(self, line: str) -> str:
        """Its answer to one line. Raises JobFailed with its last words when it has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            said = self._process.stdout.readline()
        except BrokenPipeError:
            said = ""
        if not said:
            code = self._process.wait()
            self._errors.seek(0)
            last = [text.strip() for text in self._errors if text.strip()] or ["no message"]
            raise JobFailed(f"peer {self.name}: its process ended with code {code} ({last[-1]})")
        return said

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()
