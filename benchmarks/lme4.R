# Time lme4 on one case, as measure.py times the Python packages:
#   Rscript lme4.R DATA.csv FACTORS BUDGET FORMULA RESPONSE NEW_RESPONSE
# Prints one line of JSON after each stage.
script <- sub("--file=", "", grep("--file=", commandArgs(), value = TRUE), fixed = TRUE)
source(file.path(dirname(gsub("~+~", " ", script, fixed = TRUE)), "timed.R"))
suppressPackageStartupMessages(library(lme4))

peak_memory <- function() {
  status <- "/proc/self/status"
  if (!file.exists(status)) return("null")
  mark <- grep("^VmHWM", readLines(status), value = TRUE)
  sprintf("%.1f", as.numeric(gsub("[^0-9]", "", mark)) / 1024)
}

cat(sprintf('{"version": "%s, R %s"}\n', packageVersion("lme4"), getRversion()))
data <- read_data()
new_response <- data[[arguments[6]]]
model <- as.formula(arguments[4])
before <- peak_memory()
fit <- timed(function() lmer(model, data))
cat(sprintf(
  '{"fit": %s, "objective": %.12g, "memory": %s, "memory_before": %s}\n',
  fit$numbers, REMLcrit(fit$result), peak_memory(), before
))
again <- timed(function() refit(fit$result, new_response))
cat(sprintf('{"refit": %s, "refit_objective": %.12g}\n', again$numbers, REMLcrit(again$result)))

# What a refit should reach. A second long fit would only use up the time limit.
if (fit$seconds < budget) {
  data[[arguments[5]]] <- new_response
  cat(sprintf('{"fresh_objective": %.12g}\n', REMLcrit(quietly(lmer(model, data)))))
}
