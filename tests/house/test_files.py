import os

import pytest

from hf_curriculum.files import appears_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path, content):
    with appears_whole(path) as file:
        file.write(content)


def test_a_file_appears_once_all_of_it_is_written(tmp_path):
    with appears_whole(tmp_path / "new.bin") as file:
        file.write(b"all of it")
        assert "new.bin" not in names(tmp_path)
    assert names(tmp_path) == ["new.bin"] and (tmp_path / "new.bin").read_bytes() == b"all of it"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [None, b"before"])
def test_after_an_error_all_is_as_it_was(tmp_path, error, before):
    path = tmp_path / "file.bin"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(error), appears_whole(path) as file:
        file.write(b"half")
        raise error
    assert (path.read_bytes() if path.exists() else None) == before
    assert names(tmp_path) == ["file.bin"] * (before is not None)


def test_what_another_process_has_finished_meanwhile_may_stay(tmp_path):
    path = tmp_path / "file.bin"
    for keep, left in ((True, b"first"), (False, b"second")):
        with appears_whole(path, keep) as file:
            file.write(b"second")
            path.write_bytes(b"first")
        assert path.read_bytes() == left and names(tmp_path) == ["file.bin"]
        path.unlink()


def test_a_place_that_cannot_be_taken_leaves_nothing_behind(tmp_path):
    (tmp_path / "file.bin" / "inside").mkdir(parents=True)
    with pytest.raises(OSError), appears_whole(tmp_path / "file.bin") as file:
        file.write(b"content")
    assert names(tmp_path) == ["file.bin"]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "aim").write_bytes(b"another's")
    (tmp_path / "link").symlink_to("aim")
    write(tmp_path / "link", b"mine")
    assert (tmp_path / "aim").read_bytes() == b"another's"
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "link").read_bytes() == b"mine"


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path):
    write(tmp_path / "file", b"old")
    with (tmp_path / "file").open("rb") as reader:
        write(tmp_path / "file", b"new one")
        assert reader.read() == b"old"


def test_two_that_write_at_once_do_not_meet(tmp_path):
    with appears_whole(tmp_path / "file") as one, appears_whole(tmp_path / "file") as other:
        one.write(b"one")
        other.write(b"the other")
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"one"


def test_the_file_may_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
