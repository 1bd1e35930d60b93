"""A log whose signing was stopped halfway is signed by the next call."""

from pathlib import Path

import pytest

from assets.frames import FrameStore
from assets.ledger import log as ledger_log
from assets.ledger.log import Log
from assets.ledger.note import SignerKey
from assets.ledger.store import Store

SIGNER = SignerKey("trine.example/log", bytes(32))


def test_a_first_signing_that_stops_after_its_files_are_written_can_be_done_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"sqlite:///{tmp_path / 'records.sqlite'}").prepare()
    log = Log(store, FrameStore(tmp_path / "frames"), tmp_path / "log")

    def stop(*_: object) -> str:
        raise OSError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(ledger_log, "sign_note", stop)
        with pytest.raises(OSError, match="stopped"):
            log.publish([SIGNER], tmp_path / "copies", "2026-11-02T12:00:00+00:00")
    signed = log.publish([SIGNER], tmp_path / "copies", "2026-11-02T13:00:00+00:00")
    assert signed.size == 1  # The key, as it was introduced the first time.
