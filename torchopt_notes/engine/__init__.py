"""The step that every optimizer shares: gather, transform, update.

Read in this order: :mod:`.rule` (what an optimizer supplies), :mod:`.transform` (what happens around its rule),
:mod:`.eager` (the reference), :mod:`.buckets` (who runs what, and why), :mod:`.optimizer` (the step itself),
:mod:`.gradients` (what all gradients decide together), then the two fast backends, :mod:`.compiled` and :mod:`.fused`.
"""
