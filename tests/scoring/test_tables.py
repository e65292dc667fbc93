import numpy as np
import pandas as pd
import pytest

from iwae_tf.scoring.sources import open_source

NAN = np.nan


def read(path, text, size=3):
    """Reads CSV; returns the values of the rows that can be read, and line and reason of those that cannot."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = list(open_source(path, (size,), "float32").rows(0))
    assert all(row.line for row in found)
    return [list(row.x) for row in found if row.reason is None], [(r.line, r.reason) for r in found if r.reason]


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2,3\n4,5,6\n",
        "1,2,3\n4,5,6",
        "\ufeffa,b,c\r\n1,2,3\r\n\r\n4,5,6\r\n",
        "0,1,2\n1,2,3\n4,5,6\n",  # as pandas heads the columns of an array
        '"a","b, c","d"\n"1","2","3"\n 4 , 5,6.0\n',
        "1,x,3\n1,2,3\n4,5,6\n",
    ],
)
def test_headers_and_ends_of_lines(text, tmp_path):
    assert read(tmp_path / "x.csv", text) == ([[1, 2, 3], [4, 5, 6]], [])


def test_two_numbers_that_count_are_values(tmp_path):
    assert read(tmp_path / "x.csv", "0,1\n2,3\n", 2)[0] == [[0, 1], [2, 3]]


def test_missing_values_and_words(tmp_path):
    values, faults = read(tmp_path / "x.csv", "a,b,c\n,NA,nan\nTrue,false,1e3\n<NA>,null,-inf\n")
    np.testing.assert_array_equal(values, [[NAN, NAN, NAN], [1, 0, 1000], [NAN, NAN, -np.inf]])
    assert not faults


def test_bad_lines_are_told_by_their_number(tmp_path):
    text = b'a,b,c\n1,2,3\n1,2\n\n1,"2,3\n1,2,3,4\n1,two,3\n4,5,6\n1_0,2,3\n\xff\xfe,2,3\n7,8,9\n'
    values, faults = read(tmp_path / "x.csv", text)
    assert values == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert [line for line, _ in faults] == [3, 5, 6, 7, 9, 10]
    assert faults[0][1].endswith("Received: 2 values in each row")
    assert faults[3][1] == "Expected a number in column 2. Received: 'two'"
    assert "'1_0'" in faults[4][1]


def test_a_header_of_another_length_is_an_error_at_once(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(ValueError, match=r"Expected 3 values .* Received: 2"):
        open_source(tmp_path / "x.csv", (3,), "float32")


def test_a_field_beyond_any_length_is_a_bad_line(tmp_path):
    _, faults = read(tmp_path / "x.csv", f'1,2,3\n1,2,"{"3" * 200_000}"\n')
    assert [line for line, _ in faults] == [2]


@pytest.mark.parametrize("start", [0, 2, 3, 5, 10])
def test_csv_and_parquet_from_a_row_on(start, tmp_path):
    table = pd.DataFrame(np.arange(30).reshape(10, 3), columns=list("abc"))
    table.to_csv(tmp_path / "x.csv", index=False)
    table.to_parquet(tmp_path / "x.parquet", row_group_size=3)
    for name in ("x.csv", "x.parquet"):
        found = [list(row.x) for row in open_source(tmp_path / name, (3,), "uint8").rows(start)]
        assert found == table.to_numpy()[start:].tolist()


def test_types_of_parquet(tmp_path):
    table = pd.DataFrame(
        {
            "a": pd.array([1, None, 3], "Int64"),
            "b": [0.5, NAN, 1],
            "c": pd.array([True, False, None], "boolean"),
        },
        index=["x", "y", "z"],  # which is no value of a row
    )
    table.to_parquet(tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet", (3,), "float32")
    np.testing.assert_array_equal([row.x for row in source.rows(0)], [[1, 0.5, 1], [NAN, NAN, 0], [3, 1, NAN]])
    assert source.total == 3


def test_text_in_parquet(tmp_path):
    pd.DataFrame({"a": [1], "b": ["text"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"numeric columns only. Received: b"):
        open_source(tmp_path / "x.parquet", (2,), "float32")
    (tmp_path / "x.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"x\.parquet|magic"):
        open_source(tmp_path / "x.parquet", (2,), "float32")
