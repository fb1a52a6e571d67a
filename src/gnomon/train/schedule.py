"""s(t): the share of its rate that an optimiser step takes. Linear warm-up, a plateau at 1, a decay to zero.

The decay is a straight line (arXiv:2502.15938) or 1 - sqrt (arXiv:2405.18392). The same s(t) scales the weight decay.
"""

from __future__ import annotations

import math

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import Optimisation


def warmup_steps(steps: int, optimisation: Optimisation) -> int:
    """Steps before the plateau; at least 1, so that the first update is never larger than a plateau's."""
    return min(steps, max(1, round(optimisation.warmup_fraction * steps)))


def decay_start(steps: int, optimisation: Optimisation) -> int:
    """The first step of the decay: the number of steps taken at the plateau or before it."""
    return max(warmup_steps(steps, optimisation), steps - round(optimisation.decay_fraction * steps))


def check(optimisation: Optimisation) -> None:
    """Raises GnomonError when the fractions or the shape make no schedule."""
    warmup, decay = optimisation.warmup_fraction, optimisation.decay_fraction
    if not (0 <= warmup <= 1 and 0 <= decay <= 1 and warmup + decay <= 1 + 1e-9):
        raise GnomonError(
            f"schedule: warm-up {warmup} and decay {decay} of the run; "
            "both lie between 0 and 1 and together they fit into one run"
        )
    if optimisation.decay_shape not in ("linear", "sqrt"):
        raise GnomonError(f"schedule: decay_shape is {optimisation.decay_shape!r}; it is linear or sqrt")


def multiplier(step: int, steps: int, optimisation: Optimisation) -> float:
    """s(step) in (0, 1], dimensionless. step: 0 for the first update, steps - 1 for the last.

    The warm-up ends at exactly 1 and the decay's first step is exactly 1; zero itself is reached after the last step.
    Raises GnomonError when step is outside the run.
    """
    if not 0 <= step < steps:
        raise GnomonError(f"schedule: step {step} of a run of {steps} steps; steps count from 0 to {steps - 1}")
    start = decay_start(steps, optimisation)
    if step >= start:
        done = (step - start) / (steps - start)
        return 1 - done if optimisation.decay_shape == "linear" else 1 - math.sqrt(done)
    return min(1.0, (step + 1) / warmup_steps(steps, optimisation))
