import arviz
import bambi
import pandas as pd

sleep = pd.read_csv("sleepstudy.csv", dtype={"Subject": str})
names = ["Intercept", "Days", "1|Subject_sigma", "Days|Subject_sigma", "sigma"]
for family in ("gaussian", "t"):
    model = bambi.Model("Reaction ~ Days + (Days | Subject)", sleep, family=family)
    drawn = model.fit(chains=4, target_accept=0.95, random_seed=1, progressbar=False)
    shown = names + ["nu"] if family == "t" else names
    print(arviz.summary(drawn, var_names=shown, round_to=2)[["mean", "sd", "r_hat"]])
