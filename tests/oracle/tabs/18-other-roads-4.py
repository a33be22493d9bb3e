import arviz
import bambi
import pandas as pd

pulp = pd.read_csv("pulp.csv")
model = bambi.Model("bright ~ 1 + (1 | operator)", pulp)
print(model)
drawn = model.fit(draws=2000, chains=4, target_accept=0.99, random_seed=1, progressbar=False)
columns = ["mean", "sd", "hdi_3%", "hdi_97%", "mcse_mean", "r_hat"]
print(arviz.summary(drawn, var_names=["1|operator_sigma", "sigma"], round_to=3)[columns])
