"""Parametric laws as pure functions with analytic derivatives, and one robust fitter."""
