# Time lme4 on one case, as measure.py times the Python packages:
#   Rscript lme4.R DATA.csv FACTORS BUDGET FORMULA RESPONSE NEW_RESPONSE
# FACTORS is a comma-separated list. Prints one line of JSON after each stage.
arguments <- commandArgs(TRUE)
budget <- as.numeric(arguments[3])
max_repeats <- 30
suppressPackageStartupMessages(library(lme4))
quietly <- function(expression) suppressWarnings(suppressMessages(expression))

peak_memory <- function() {
  status <- "/proc/self/status"
  if (!file.exists(status)) return("null")
  mark <- grep("^VmHWM", readLines(status), value = TRUE)
  sprintf("%.1f", as.numeric(gsub("[^0-9]", "", mark)) / 1024)
}

# One warm-up, then repeats within the budget; a first run longer than it is the measurement.
timed <- function(action) {
  wall <- cpu <- numeric(0)
  while (length(wall) < max_repeats && (length(wall) < 2 || sum(wall) < budget)) {
    cpu_started <- sum(proc.time()[c(1, 2, 4, 5)], na.rm = TRUE)
    started <- as.numeric(Sys.time())
    result <- quietly(action())
    wall <- c(wall, as.numeric(Sys.time()) - started)
    cpu <- c(cpu, sum(proc.time()[c(1, 2, 4, 5)], na.rm = TRUE) - cpu_started)
    if (length(wall) == 1 && wall > budget) break
  }
  kept <- if (length(wall) > 1) -1 else 1
  # R's CPU clock ticks in milliseconds: the mean says more than the median of short runs.
  numbers <- sprintf(
    '{"seconds": %.9f, "best": %.9f, "cpu": %.9f, "repeats": %d}',
    median(wall[kept]), min(wall[kept]), mean(cpu[kept]), length(wall[kept])
  )
  list(result = result, numbers = numbers, seconds = median(wall[kept]))
}

cat(sprintf('{"version": "%s, R %s"}\n', packageVersion("lme4"), getRversion()))
factors <- strsplit(arguments[2], ",")[[1]]
classes <- setNames(rep("factor", length(factors)), factors)
data <- read.csv(arguments[1], colClasses = classes)
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
