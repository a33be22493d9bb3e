"""This project's library."""

import mmlib

DISTRIBUTION = "mmlib"


def frame(data):
    return data


def fit(task, data):
    return mmlib.lmm(task["formula"], data, residual=task.get("residual") or None)


def refit(_task, _data, result):
    return result.refit


def objective(result):
    return result.objective


def _fits(task, data):
    return tuple(mmlib.lmm(task[key], data, reml=task["reml"]) for key in ("null", "formula"))


def bootstrap_test(task, data):
    small, large = _fits(task, data)
    return lambda: {"p": mmlib.parametric_bootstrap(small, large, nsim=task["nsim"], rng=1).pvalue}


def bootstrap_refits(task, data):
    model, term = fit(task, data), task["term"]

    def run():
        drawn = mmlib.bootstrap(model, _estimates, nsim=task["nsim"], rng=1)
        return {"se": drawn.se[term]}

    return run


def _estimates(model):
    values = dict(zip(model.design.fixed_names, model.beta, strict=True))
    return (
        values
        | {f"theta{k}": value for k, value in enumerate(model.theta)}
        | {"sigma": model.sigma}
    )


def exact_rlrt(task, data):
    model = mmlib.lmm(task["formula"], data)
    return lambda: _drawn(mmlib.exact_rlrt(model, nsim=task["nsim"], rng=1), task["nsim"])


def exact_lrt(task, data):
    small, large = _fits(task, data)
    return lambda: _drawn(mmlib.exact_lrt(small, large, nsim=task["nsim"], rng=1), task["nsim"])


def _drawn(test, nsim):
    """The p-value by draws, also where a closed form makes them needless."""
    sample = test.sample if len(test.sample) else test.draw(nsim, rng=1)
    return {"p": (sample >= test.statistic - 1e-9).mean()}


def kenward_roger(task, data):
    model = mmlib.lmm(task["formula"], data)
    return lambda: _f_test(mmlib.kenward_roger(model, task["term"]))


def satterthwaite(task, data):
    model = mmlib.lmm(task["formula"], data)
    return lambda: _f_test(mmlib.satterthwaite(model, task["term"]))


def _f_test(test):
    return {"F": test.statistic, "df": test.df[1]}


def power(task, data):
    model, term = mmlib.lmm(task["formula"], data), task["term"]
    options = {"effect": {term: task["effect"]}, "nsim": task["nsim"], "rng": 1}
    return lambda: {"power": mmlib.power(model, term, **options).to_frame()["power"].iloc[0]}


def profile_intervals(task, data):
    model = mmlib.lmm(task["formula"], data, reml=False)
    return lambda: _limits(model.confint("profile"))


def _limits(table):
    return {f"{name} {end}": table.loc[name, end] for name in ("sigma", "Days") for end in table}
