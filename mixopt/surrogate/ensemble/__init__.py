"""The surrogate of one fidelity: laws and Gaussian processes, stacked and calibrated."""
