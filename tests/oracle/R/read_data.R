# ./data/*.csv and ./data/levels.json, as tests/oracle/make.py writes them, to ./data.rds for the other scripts.
about <- jsonlite::fromJSON("./data/levels.json")
D <- lapply(setNames(names(about), names(about)), function(n) { factors <- about[[n]]
  d <- read.csv(sprintf("./data/%s.csv", n), check.names = FALSE, na.strings = "", colClasses = setNames(rep("character", length(factors)), names(factors)))
  for (v in names(factors)) d[[v]] <- factor(d[[v]], levels = factors[[v]]$levels, ordered = factors[[v]]$ordered)
  d })
saveRDS(D, "./data.rds"); cat(length(D), "datasets\n")
