"""lme-python, a Rust core that reads polars."""

import statistics

import lme_python
import numpy as np
import polars

DISTRIBUTION = "lme-python"


def frame(data):
    return polars.DataFrame(
        {
            name: column.astype(str).to_list() if column.dtype == "category" else column.to_numpy()
            for name, column in data.items()
        }
    )


def fit(task, data):
    return lme_python.lmer(task["formula"], data=data, reml=True)


def refit(task, data, _result):
    prepared = lme_python.prepare_lmer(task["formula"], data)
    return lambda y: lme_python.fit_prepared(prepared, True, y=y.tolist())


def objective(result):
    return result.reml_criterion


def bootstrap_test(task, data):
    small = lme_python.prepare_lmer(task["null"], data)
    large = lme_python.prepare_lmer(task["formula"], data)

    def run():
        drawn = lme_python.bootstrap_lrt(large, small, task["nsim"], seed=1)
        return {"p": drawn.p_value}

    return run


def bootstrap_refits(task, data):
    model = fit(task, data)

    def run():
        drawn = lme_python.boot_lmer(task["formula"], data, model, nsim=task["nsim"], seed=1)
        at = drawn.fixed_names.index(task["term"])
        return {
            "se": statistics.stdev(replicate.coefficients[at] for replicate in drawn.replicates)
        }

    return run


def kenward_roger(task, data):
    return _f_test(task, data, "kenward_roger")


def satterthwaite(task, data):
    return _f_test(task, data, "satterthwaite")


def _f_test(task, data, method):
    model = fit(task, data)

    def run():
        getattr(model, f"with_{method}")(data)
        table = model.anova(method)
        row = table.terms.index(task["term"])
        return {"F": table.f_value[row], "df": table.den_df[row]}

    return run


def power(task, data):
    """It draws responses and refits; the loop around that, and the effect, are ours."""
    model = fit(task, data)
    response = task["formula"].split("~")[0].strip()
    prepared = lme_python.prepare_lmer(task["formula"], data)
    at = model.fixed_names.index(task["term"])
    moved = (task["effect"] - model.coefficients[at]) * data[task["term"]].to_numpy()

    def is_significant(y):
        drawn = lme_python.fit_prepared(prepared, True, y=y.tolist())
        drawn.with_kenward_roger(data.with_columns(polars.Series(response, y)))
        table = drawn.anova("kenward_roger")
        return table.p_value[table.terms.index(task["term"])] < 0.05

    def run():
        responses = model.simulate(task["nsim"], seed=1).simulations
        return {"power": statistics.mean(is_significant(np.array(y) + moved) for y in responses)}

    return run


def profile_intervals(task, data):
    model = lme_python.lmer(task["formula"], data=data, reml=False)

    def run():
        limits = model.confint(method="profile", data=data, which="all")
        rows = zip(limits.names, limits.lower, limits.upper, strict=True)
        ends = {name.lstrip("."): (low, high) for name, low, high in rows}
        return {
            f"{name} {end}": ends[name][k]
            for name in ("sigma", "Days")
            for k, end in enumerate(("lower", "upper"))
        }

    return run
