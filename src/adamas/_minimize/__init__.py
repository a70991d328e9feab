"""The front end for functions of NumPy arrays; its public names are `adamas.minimize` and `scipy_method`."""

from .minimize import minimize
from .scipy import scipy_method

__all__ = ["minimize", "scipy_method"]
