# Time lme4 on one case, as measure.py times the Python packages:
#   Rscript lme4.R DATA.csv FACTORS BUDGET FORMULA RESPONSE NEW_RESPONSE [NLME]
# With NLME, an expression of nlme, that is timed instead; it has no refit.
# Prints one line of JSON after each stage.
script <- sub("--file=", "", grep("--file=", commandArgs(), value = TRUE), fixed = TRUE)
source(file.path(dirname(gsub("~+~", " ", script, fixed = TRUE)), "timed.R"))
peak_memory <- function() {
  status <- "/proc/self/status"
  if (!file.exists(status)) return("null")
  mark <- grep("^VmHWM", readLines(status), value = TRUE)
  sprintf("%.1f", as.numeric(gsub("[^0-9]", "", mark)) / 1024)
}

by_nlme <- length(arguments) > 6 && nchar(arguments[7]) > 0
package <- if (by_nlme) "nlme" else "lme4"
suppressPackageStartupMessages(library(package, character.only = TRUE))
version <- paste0(if (by_nlme) "nlme ", packageVersion(package))
cat(sprintf('{"version": "%s, R %s"}\n', version, getRversion()))
data <- read_data()
new_response <- data[[arguments[6]]]
model <- as.formula(arguments[4])
before <- peak_memory()
run_nlme <- function() eval(parse(text = arguments[7]))
fit <- timed(if (by_nlme) run_nlme else function() lmer(model, data))
criterion <- if (by_nlme) -2 * as.numeric(logLik(fit$result)) else REMLcrit(fit$result)
cat(sprintf(
  '{"fit": %s, "objective": %.12g, "memory": %s, "memory_before": %s}\n',
  fit$numbers, criterion, peak_memory(), before
))
if (by_nlme) quit()
again <- timed(function() refit(fit$result, new_response))
cat(sprintf('{"refit": %s, "refit_objective": %.12g}\n', again$numbers, REMLcrit(again$result)))

# What a refit should reach. A second long fit would only use up the time limit.
if (fit$seconds < budget) {
  data[[arguments[5]]] <- new_response
  cat(sprintf('{"fresh_objective": %.12g}\n', REMLcrit(quietly(lmer(model, data)))))
}
