"""Where the processes keep their figures: never where a full disk would kill them."""

from pathlib import Path

import pytest

from platform_config import metrics


def test_figures_lie_in_memory_and_leave_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "shm"
    memory.mkdir()
    monkeypatch.setattr(metrics, "MEMORY", memory)
    with metrics.fresh_directory(tmp_path / "data") as place:
        assert Path(place).parent == memory
        (Path(place) / "counter_1.db").write_bytes(b"old")
        with metrics.fresh_directory(tmp_path / "other") as second:
            assert second != place
    assert list(memory.iterdir()) == []
    left = memory / Path(place).name
    left.mkdir()
    (left / "counter_1.db").write_bytes(b"of a run that was killed")
    with metrics.fresh_directory(tmp_path / "data") as again:
        assert list(Path(again).iterdir()) == []


def test_without_such_a_place_they_lie_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MEMORY", tmp_path / "missing")
    with metrics.fresh_directory(tmp_path / "data") as place:
        assert place == str(tmp_path / "data" / "metrics")
