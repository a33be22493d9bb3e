import glmm
import pandas as pd

cbpp = pd.read_csv("cbpp.csv", dtype={"herd": str, "period": str})
animals = cbpp.loc[cbpp.index.repeat(cbpp["size"])]  # a row for each animal
sick = animals.groupby(level=0).cumcount() < animals["incidence"]
animals = animals.assign(sick=sick.astype(int)).reset_index(drop=True)
fit = glmm.fit(animals, "sick ~ period + (1 | herd)", family="binomial", nagq=25)
print(pd.Series(fit.beta, fit.names).round(4).to_string())
round(fit.varcorr[0][0] ** 0.5, 4)  # standard deviation between herds
