"""The verification page: what it covers, that it can fail, and that it is up to date."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from tests.helpers import oracle
from tools import run
from tools.book import verify
from tools.book.verify import VerificationError
from tools.site import build as build_site

PLAIN = verify.Entry(
    section="1 Introduction",
    what="mean",
    printed="60.40",
    quantity="pulp.mean",
    listed="",
    r="",
    rule="",
    reason="",
    draws=0,
    r_draws=0,
)


@pytest.fixture(scope="module")
def entries():
    return verify.read_entries()


@pytest.fixture(scope="module")
def rows():
    return verify.verified_rows()


def row(printed, ours, r=(), **changes):
    return verify.Row(replace(PLAIN, printed=printed, **changes), ours, r)


def test_the_committed_page_is_up_to_date(rows):
    verify.check_page(rows)


def test_every_listed_number_is_covered_as_printed(entries):
    ours = {entry.listed: entry.printed for entry in entries if entry.listed}
    assert ours == {line["where"]: line["printed"] for line in oracle.load_printed_values()}


def test_every_row_is_held_by_something(rows):
    assert all(row.r or row.entry.printed for row in rows)
    assert all(row.r or not row.entry.rule for row in rows)


def test_data_are_listed_in_full(rows):
    lengths = {row.entry.quantity: len(row.ours) for row in rows if len(row.ours) > 1}
    assert lengths == {"pulp.brightness": 20, "penicillin.yields": 20}


def test_any_changed_value_of_ours_fails(entries):
    """Move every value of ours, one after another: each row notices."""
    ours, r = verify._our_values(), verify.r_values()
    for entry in entries:
        first, *others = ours[entry.quantity]
        if entry.rule == "simulated":
            first += 0.1
        elif entry.r or entry.listed:
            first *= 1 + 1e-5
        else:
            first += 1
        (changed,) = verify.compare([entry], ours | {entry.quantity: [first, *others]}, r)
        assert changed.complaint().startswith(f"{entry.name}: ours is "), entry.name


def test_any_changed_printed_number_fails(rows):
    """Move the last printed digit by more than its rounding: each row notices."""
    for whole in rows:
        if not whole.entry.printed or whole.entry.rule == "simulated":
            continue
        first, *others = whole.entry.printed.split()
        changed = "<1e-99" if first.startswith("<") else f"{float(first) * 1.5:.9f}"
        entry = replace(whole.entry, printed=" ".join([changed, *others]))
        assert "printed is " in replace(whole, entry=entry).complaint(), entry.name


@pytest.mark.parametrize(
    ("printed", "ours", "holds"),
    [
        ("60.40", 60.404, True),
        ("60.40", 60.406, False),
        ("264", 264.4, True),
        ("264", 264.6, False),
        ("0.1062", 0.10625000000000001, True),
        ("-0.1244", -0.12434, False),
        ("<2e-16", 1.7e-38, True),
        ("<2e-16", 3e-16, False),
        ("60.40", float("nan"), False),
    ],
)
def test_printed_digits(printed, ours, holds):
    assert (row(printed, [ours]).complaint() == "") is holds


@pytest.mark.parametrize(
    ("rule", "printed", "ours", "r", "holds"),
    [
        ("halfway", "0.1062", 0.10625, 0.10625, True),
        ("halfway", "0.1062", 0.10624, 0.10624, False),
        ("rounded twice", "-0.1244", -0.124346, -0.124346, True),
        ("rounded twice", "-0.1244", -0.124344, -0.124344, False),
        ("rounded twice", "-0.1244", -0.12441, -0.12441, False),
        ("off the optimum", "1.312117", 1.3121175031, 1.3121174887, True),
        ("off the optimum", "1.312117", 1.3121175031, 1.3121175031, False),
        ("off the optimum", "1.312117", 1.3121174887, 1.3121174887, False),
        ("simulated", "0.0241", 0.0226, 0.0226, True),
        ("simulated", "0.0281", 0.0226, 0.0226, False),
    ],
)
def test_a_reason_must_hold_too(rule, printed, ours, r, holds):
    explained = row(printed, [ours], [r], rule=rule, reason="so it is", draws=10_000)
    assert (explained.complaint() == "") is holds


def test_r_is_met_to_one_part_in_a_million_or_within_its_simulation_error():
    assert row("60.40", [60.4], [60.40001]).complaint() == ""
    assert "R's is 60.4001" in row("60.40", [60.4], [60.4001]).complaint()
    simulated = {"printed": "", "ours": [0.0226], "rule": "simulated", "reason": "drawn"}
    assert row(**simulated, r=[0.019], r_draws=1000).complaint() == ""
    assert "R's is 0.019" in row(**simulated, r=[0.019], r_draws=100_000).complaint()


def test_a_missing_number_fails():
    assert "printed is 59.8 60" in row("59.8 60", [59.8]).complaint()


@pytest.mark.parametrize("column", ["quantity", "listed", "r"])
def test_an_unknown_name_is_an_error(column):
    entry = replace(PLAIN, **{column: "nobody"})
    with pytest.raises(VerificationError, match="there is no value called 'nobody'"):
        verify.compare([entry], {"pulp.mean": [60.4]}, {})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",halfway,", ",guess,", "unknown rule 'guess'"),
        (",halfway,", ",,", "a rule needs a reason, and a reason a rule"),
    ],
)
def test_a_list_that_is_not_in_order_is_an_error(tmp_path, old, new, message):
    changed = tmp_path / "list.csv"
    text = verify.LISTED.read_text(encoding="utf-8")
    assert old in text
    changed.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(VerificationError, match=message):
        verify.read_entries(changed)


def test_a_failing_row_is_named_and_stops_the_tool(monkeypatch):
    wrong = verify._our_values() | {"ml.aic": [22.6], "reml.t": [404.0]}
    monkeypatch.setattr(verify, "_our_values", lambda: wrong)
    with pytest.raises(VerificationError) as stopped:
        verify.main()
    first, second = str(stopped.value).splitlines()
    assert first.startswith("4.2 Maximum likelihood, ML, AIC (ml.aic): ours is 22.6, R's is")
    assert second.startswith("4.3 REML, REML, intercept: t (reml.t): ours is 404.0")


def test_a_failing_row_stops_the_build_before_it_begins(monkeypatch):
    def fail():
        raise VerificationError("ML, AIC does not hold")

    monkeypatch.setattr(build_site, "verified_rows", fail)
    monkeypatch.setattr(build_site, "build", lambda *_, **__: pytest.fail("built all the same"))
    with pytest.raises(SystemExit, match="error: ML, AIC does not hold"):
        run(lambda: build_site.main([]))


def test_a_stale_page_is_an_error(rows, tmp_path):
    stale = tmp_path / "verification.md"
    page = verify.PAGE.read_text(encoding="utf-8")
    verify.check_page(rows, verify.PAGE)
    stale.write_text(page.replace("22.5116748", "22.5117748"), encoding="utf-8")
    with pytest.raises(VerificationError, match=r"verification\.md is not up to date: run"):
        verify.check_page(rows, stale)
    with pytest.raises(VerificationError, match="not up to date"):
        verify.check_page(rows, tmp_path / "absent.md")


def test_rounding_noise_does_not_make_a_page_stale():
    line = "| mean | 60.4 | agrees | 60.4 | 60.4 | {} |\n"
    assert verify.same_page(line.format("2e-14"), line.format("-0"))
    assert verify.same_page(line.format("0"), line.replace("60.4 |", "60.4000000000001 |", 1))
    assert not verify.same_page(line.format("0"), line.format("0").replace("agrees", "explained"))
    assert not verify.same_page(line.format("0"), line.format("0").replace("60.4", "60.41"))


def test_the_page_counts_what_it_shows():
    page = verify.PAGE.read_text(encoding="utf-8")
    printed = Counter(re.findall(r"\| (?!–)[^|]+ \| (agrees|explained)\b", page))
    unprinted = len(re.findall(r"\| – \| (?:agrees|explained)\b", page))
    told = " ".join(page.split())
    assert f"{printed.total()} rows of printed numbers: {printed['agrees']} agree" in told
    assert f"agree, {printed['explained']} cannot agree and are explained" in told
    assert f"Another {unprinted} rows, computed by" in told
    assert f"Of all {printed.total() + unprinted} rows" in told
