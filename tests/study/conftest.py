from small_study import make, space, train

__all__ = ["make", "space", "train"]
