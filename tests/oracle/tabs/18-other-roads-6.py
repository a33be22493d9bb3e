from datetime import date
from importlib.metadata import version

print(date.today())
for name in ["bambi", "pymc", "arviz", "glmm", "lme-python", "mixedlm", "statsmodels"]:
    print(name, version(name))
