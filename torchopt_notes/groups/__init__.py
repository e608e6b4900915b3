"""Parameter groups made from a model: what decays, and who learns at which rate. For any ``torch.optim`` optimizer.

Read in this order: :mod:`.inventory` (the parameters and their names), :mod:`.patterns` (how names are matched),
:mod:`.no_decay` and :mod:`.layers` (the two decisions), :mod:`.build` (the groups), :mod:`.describe` (the table).
"""

from .build import param_groups
from .describe import describe_groups

__all__ = ["describe_groups", "param_groups"]
