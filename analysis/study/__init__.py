"""Run directories read into a `Study`: what ran, what it measured, what was left out and why."""
