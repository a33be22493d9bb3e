"""mixedlm, Python with a Rust core."""

import mixedlm

DISTRIBUTION = "mixedlm"


def frame(data):
    return data


def fit(task, data):
    return mixedlm.lmer(task["formula"], data)


def refit(_task, _data, result):
    return result.refit


def objective(result):
    return result.REMLcrit()


def bootstrap_refits(task, data):
    model = fit(task, data)

    def run():
        drawn = mixedlm.bootMer(model, nsim=task["nsim"], seed=1)
        return {"se": drawn.beta_samples[:, drawn.fixed_names.index(task["term"])].std(ddof=1)}

    return run


def kenward_roger(task, data):
    model = fit(task, data)
    return lambda: _f_test(mixedlm.anova_type3(model, ddf_method="Kenward-Roger"), task["term"])


def satterthwaite(task, data):
    model = fit(task, data)
    return lambda: _f_test(mixedlm.anova_type3(model), task["term"])


def _f_test(table, term):
    row = list(table.terms).index(term)
    return {"F": table.f_value[row], "df": table.den_df[row]}


def profile_intervals(task, data):
    model = mixedlm.lmer(task["formula"], data, REML=False)

    def run():
        """Its profiles are of fixed effects only."""
        low, high = model.confint(method="profile")["Days"]
        return {"Days lower": low, "Days upper": high}

    return run
