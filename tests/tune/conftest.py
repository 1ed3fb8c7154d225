from small_study import make, space

__all__ = ["make", "space"]
