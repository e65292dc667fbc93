import numpy as np
import pytest

from iwae_tf.scoring.endpoint import Scorer, conform

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    "x, dtype, fit",
    [
        ([[0.0, 255.0], [0.5, 1], [-1, 0], [256, 0], [NAN, 0], [INF, 0]], "uint8", [0]),
        ([[1, 2], [-1, 0], [300, 0]], "uint8", [0]),
        ([[0.0, 1.0], [0.5, 1], [2, 0]], "bool", [0]),
        ([[True, False]], "uint8", [0]),
        ([[0.5, NAN], [1e300, 0], [INF, 0], [3, -4]], "float32", [0, 3]),
        ([[1, 2]], "float32", [0]),
    ],
)
def test_rows_of_which_nothing_is_lost(x, dtype, fit):
    x = np.array(x)
    converted, reasons = conform(x, dtype)
    assert [i for i, reason in enumerate(reasons) if reason is None] == fit
    assert converted.dtype == dtype
    np.testing.assert_array_equal(converted[fit].astype(float), x[fit].astype(float))


def test_reasons():
    _, reasons = conform(np.array([[0.5, 2.0], [NAN, 1.0]]), "uint8")
    assert reasons[0] == "Expected uint8 values, as in training. Received: float64 in [0.5, 2]"
    assert reasons[1] == "Expected finite numbers. Received: values that are missing or not finite"


def test_a_run_folder_is_no_saved_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Received: .*runs$"):
        Scorer(tmp_path / "runs")
    (tmp_path / "runs" / "saved_model").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"; try .*saved_model"):
        Scorer(tmp_path / "runs")
