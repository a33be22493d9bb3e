"""`tools/site/signatures.py`: what the reference pages show of a signature."""

import pytest

from tools.site.signatures import as_read


@pytest.mark.parametrize(
    ("what", "name", "signature", "shown"),
    [
        ("class", "mmlib.Optimum", "(start: FloatArray, factor: Factor)", ""),
        ("class", "mmlib.Objective", "(design: Design)", "(design: Design)"),
        (
            "function",
            "mmlib.lrt",
            "(small: Fit, large: Fit)",
            "(small: LMMResult, large: LMMResult)",
        ),
        ("function", "mmlib.lmm", "(data: pd.DataFrame)", "(data: DataFrame)"),
        ("method", "mmlib.LMMResult.confint", "(**boot: ~typing.Unpack[~mm.Boot])", "(**boot)"),
    ],
)
def test_a_signature_is_in_public_names(what, name, signature, shown):
    assert as_read(None, what, name, None, None, signature, None) == (shown, "" if shown else None)
