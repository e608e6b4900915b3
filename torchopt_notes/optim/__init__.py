"""The optimizers: one file per family, each with its class, its docstring and its eager rule."""
