"""Documents into adapters: the plan, the schedule, the steps."""
