power.slope <- function(subjects, effect, sd.slope, sigma, Q) {
  ncp <- effect^2 / ((sd.slope^2 + sigma^2 / Q) / subjects)
  df <- subjects - 1
  pf(qf(0.95, 1, df), 1, df, ncp, lower.tail = FALSE)
}
power.slope(c(12, 18), effect = 5, sd.slope = 5.922, sigma = 25.592, Q = 82.5)
