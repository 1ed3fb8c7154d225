"""BoTorch's dependencies warn about torch.jit at import; that is theirs to mend, so import once."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import botorch  # noqa: F401
