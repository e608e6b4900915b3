"""The demo: one small GPT trained twice, by ``torch.optim.AdamW`` and by ``torchopt_notes.AdamW``.

Run it with ``python -m torchopt_notes.demo``; ``--help`` lists the options.
"""
