"""The learning rate over a run: a short rise, then half a cosine."""

import math


def learning_rate(
    fraction: float, *, peak: float, final_share: float = 0.1, warmup: float = 0.02
) -> float:
    """The rate when `fraction` in [0, 1] of the run, in steps or in time, is done.

    It rises linearly to `peak` over the first `warmup` of the run, then follows a cosine down to
    `final_share` of the peak. Fractions beyond the ends give the ends. Source: Loshchilov and
    Hutter 2017, without restarts.
    """
    fraction = min(max(fraction, 0.0), 1.0)
    if fraction < warmup:
        return peak * fraction / warmup
    if warmup == 1.0:
        return peak
    descent = (fraction - warmup) / (1.0 - warmup)
    return peak * (final_share + (1.0 - final_share) * 0.5 * (1.0 + math.cos(math.pi * descent)))
