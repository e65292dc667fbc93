import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iwae_tf.scoring.saved_columns import SavedColumns
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
    assert faults[3][1] == "Expected a number in column 'b'. Received: 'two'"
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
    with pytest.raises(ValueError, match=r"numeric columns. Received: b of"):
        open_source(tmp_path / "x.parquet", (2,), "float32")
    (tmp_path / "x.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"x\.parquet|magic"):
        open_source(tmp_path / "x.parquet", (2,), "float32")


COUNT = np.arange(8)


@pytest.mark.parametrize(
    ("first", "others", "is_header"),
    [
        (COUNT, [COUNT * 2], True),
        (COUNT + 1, [COUNT * 3 % 8], True),
        (COUNT + 1, [], True),
        (COUNT + 1, [COUNT * 2], True),
        (COUNT - 4, [COUNT], True),
        (COUNT + 400.0, [COUNT], True),
        (COUNT * 0.5 + 400, [COUNT * 3 % 8, COUNT[::-1]], True),
        (COUNT**2, [np.full(8, np.nan)], True),
        (COUNT * 0.5 + 400, [COUNT * 0.5], False),
        (COUNT * 0.5 + 400, [COUNT * 3 % 8, COUNT * 0.5], False),
        (COUNT * 0.5 + 400, [], False),
        (COUNT + 0.5, [COUNT * 3 % 8, COUNT**2], False),
        (COUNT[::-1], [COUNT * 3 % 8], False),
        (COUNT // 2, [COUNT * 3 % 8], False),
        (np.where(COUNT == 3, np.nan, COUNT), [COUNT * 3 % 8], False),
        (np.full(8, np.inf), [COUNT], False),
        ([1, 2, 3], [[3, 1, 2]], False),
        ([0.5, 1.5, 3], [[3, 1, 2]], False),
        ([0, 1], [[5, 4]], False),
        ([0, 1, 2], [[5, 4, 7]], True),
    ],
)
@pytest.mark.parametrize("given", [None, True, False])
def test_headers_of_numbers(first, others, is_header, given, tmp_path):
    lines = [first, *others]
    pd.DataFrame(lines).to_csv(tmp_path / "x.csv", index=False, header=False)
    source = open_source(tmp_path / "x.csv", (len(first),), "float32", header=given)
    expected = lines[1:] if (is_header if given is None else given) else lines
    found = np.reshape([row.x for row in source.rows(0)], (-1, len(first)))
    np.testing.assert_array_equal(found, np.reshape(expected, (-1, len(first))))


NAMES = ("age", "town", "b, c", "2")
TABLE = pd.DataFrame(np.arange(20.0).reshape(5, 4), columns=NAMES)


def write_table(frame, path, **options):
    """Writes a frame as its suffix says; `index=True` writes the index too."""
    frame.to_csv(path, **options) if path.suffix == ".csv" else frame.to_parquet(path, **options)
    return path


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_columns_are_found_by_name(order, index, kind, tmp_path):
    path = write_table(TABLE.iloc[:, order].set_axis(list("vwxyz"), axis=0), tmp_path / f"x{kind}", index=index)
    for start in (0, 3):
        rows = open_source(path, (4,), "float32", SavedColumns(NAMES)).rows(start)
        np.testing.assert_array_equal([row.x for row in rows], TABLE.to_numpy()[start:])


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_columns_without_names_are_told_by_their_order(kind, tmp_path):
    numbered = TABLE.set_axis(["0", "1", "2", "3"], axis=1)
    swapped = TABLE.iloc[:, [1, 0, 2, 3]]
    for frame, names in ((numbered, ("age", "town", "b, c", "d")), (swapped, ())):
        source = open_source(
            write_table(frame, tmp_path / f"x{kind}", index=False), (4,), "float32", SavedColumns(names)
        )
        np.testing.assert_array_equal([row.x for row in source.rows(0)], frame)
    swapped.to_csv(tmp_path / "x.csv", index=False, header=False)
    source = open_source(tmp_path / "x.csv", (4,), "float32", SavedColumns(NAMES))
    np.testing.assert_array_equal([row.x for row in source.rows(0)], swapped)


def test_names_that_are_numbers_are_found_in_any_order(tmp_path):
    (tmp_path / "x.csv").write_text("2,0,1\n5,6,7\n")
    (row,) = open_source(tmp_path / "x.csv", (3,), "float32", SavedColumns(("0", "1", "2"))).rows(0)
    assert list(row.x) == [6, 7, 5]


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda t: t.drop(columns=["age", "2"]), "missing: 'age', '2'$"),
        (lambda t: t.assign(more=1, other=2), "unknown: 'more', 'other'$"),
        (lambda t: t.rename(columns={"age": "Age"}), "missing: 'age'; unknown: 'Age'$"),
        (lambda t: t.rename(columns={"b, c": "town"}), "missing: 'b, c'; duplicated: 'town'$"),
        (lambda t: t.set_axis(list("wxyz"), axis=1), "missing: 'age', 'town', 'b, c', '2'; unknown: 'w', 'x'"),
    ],
)
def test_columns_that_are_not_the_models(change, received, kind, tmp_path):
    frame = change(TABLE)
    if kind == ".csv":
        frame.to_csv(tmp_path / "x.csv", index=False)
    else:  # which pandas does not write with two columns of one name
        pq.write_table(pa.table([frame.iloc[:, i] for i in range(frame.shape[1])], list(frame)), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=f"columns, 'age', 'town', 'b, c', '2'. Received: {received}"):
        open_source(tmp_path / f"x{kind}", (4,), "float32", SavedColumns(NAMES))


@pytest.mark.parametrize("names", [NAMES, ()])
@pytest.mark.parametrize("town", [["Leeds"] * 5, ["", "NA", "York", "Leeds", "nan"], [None, None, None, None, "x"]])
def test_columns_of_text_are_an_error_at_once(town, names, tmp_path):
    TABLE.assign(town=town).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(ValueError, match=r"a number in column 'town'. Received: '\w+', and nothing better"):
        open_source(tmp_path / "x.csv", (4,), "float32", SavedColumns(names))
    TABLE.assign(town=town).to_csv(tmp_path / "x.csv", index=False, header=False)
    with pytest.raises(ValueError, match=r"a number in column 2. Received: '\w+'"):
        open_source(tmp_path / "x.csv", (4,), "float32", SavedColumns(names), header=False)


@pytest.mark.parametrize("town", [[1, "x", "y", "z", "a"], [None] * 5, ["x", "nan", "2", "", "y"]])
def test_columns_that_hold_a_number_are_none_of_text(town, tmp_path):
    TABLE.assign(town=town)[["town", "2", "age", "b, c"]].to_csv(tmp_path / "x.csv", index=False)
    rows = list(open_source(tmp_path / "x.csv", (4,), "float32", SavedColumns(NAMES)).rows(0))
    faulty = [isinstance(value, str) and value.isalpha() and value != "nan" for value in town]
    assert [row.reason is not None for row in rows] == faulty
    expected = [f"Expected a number in column 'town'. Received: {value!r}" for value in town]
    assert all(row.reason in (None, reason) for row, reason in zip(rows, expected, strict=True))


def test_lines_that_are_longer_or_shorter_than_a_header_of_names(tmp_path):
    (tmp_path / "x.csv").write_text(",b,a\nx,1,2\n3,4\ny,5,6,7\nz,8,9\n")
    rows = list(open_source(tmp_path / "x.csv", (2,), "float32", SavedColumns(("a", "b"))).rows(0))
    assert [None if row.reason else list(row.x) for row in rows] == [[2, 1], None, None, [9, 8]]
    assert rows[1].reason == "Expected 3 values, as in the header. Received: 2"
