"""The optimizers, one file per family, from simple to complex: :mod:`.sgd`, :mod:`.adam`."""
