package notify

const clockMonotonic = 3 // CLOCK_MONOTONIC of sys/time.h, which x/sys lacks
