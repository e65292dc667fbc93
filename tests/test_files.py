import pytest

from iwae_tf.files import write_whole


def test_appears_only_when_whole(tmp_path):
    target = tmp_path / "new" / "file"
    with write_whole(target) as part:
        part.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half" and not part.exists()


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError), write_whole(target, overwrite=True) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and not part.exists()
    with pytest.raises(RuntimeError), write_whole(target, overwrite=True, keep_failed=True) as part:
        part.write_text("half")
        raise RuntimeError
    assert part.read_text() == "half"


def test_refuses_to_overwrite(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(FileExistsError, match="exists; pass overwrite"), write_whole(target):
        pass
    target.rmdir()
    (tmp_path / "folder.part").mkdir()
    with pytest.raises(FileExistsError, match="unfinished"), write_whole(target):
        pass
    with write_whole(target, overwrite=True) as part:
        part.mkdir()
    assert target.is_dir()
