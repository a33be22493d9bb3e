# What lme4.R and inference.R share. Both are called with DATA.csv FACTORS BUDGET first.
arguments <- commandArgs(TRUE)
budget <- as.numeric(arguments[3])
max_repeats <- 30
quietly <- function(expression) suppressWarnings(suppressMessages(expression))

# FACTORS is a comma-separated list.
read_data <- function() {
  factors <- strsplit(arguments[2], ",")[[1]]
  read.csv(arguments[1], colClasses = setNames(rep("factor", length(factors)), factors))
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
