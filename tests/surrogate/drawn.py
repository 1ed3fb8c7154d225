"""What sample paths of a stack leave out of its posterior."""


def drawn_variance(model, X):
    """``n x m`` variance of the paths: without the members' disagreement about their mean."""
    rows, x = model.embed(X)
    K = model.gp.cross(x)
    mean, _ = model.stacked(rows, K)
    return (model.gp.variance(K) * model.inflation(mean) ** 2).numpy()
