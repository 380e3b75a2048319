"""A fake daemon, and the program run against it in this process."""

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hutch.cli.main import main
from tests.unit.cli.fake import Fake


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Hutch:
    """Runs `hutch WORDS` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *words: str, stdin: str = "") -> Outcome:
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            code = main(list(words))
        except SystemExit as end:
            code = int(end.code or 0)
        shown = self.capsys.readouterr()
        return Outcome(code, shown.out, shown.err)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    with tempfile.TemporaryDirectory(prefix="hutch-cli-") as folder:
        monkeypatch.setenv("HUTCH_DIR", folder)
        monkeypatch.delenv("HUTCH_PROJECT", raising=False)
        with Fake(Path(folder) / "unix.socket") as fake:
            yield fake


@pytest.fixture
def hutch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Hutch:
    return Hutch(capsys, monkeypatch)
