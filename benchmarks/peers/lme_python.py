"""lme-python, a Rust core that reads polars."""

import lme_python
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
