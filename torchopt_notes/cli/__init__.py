"""The commands of ``python -m torchopt_notes``. What they show needs rich, from the extra ``cli``; without it
they exit with 2."""
