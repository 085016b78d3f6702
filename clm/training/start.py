"""Initialise a network: as a logistic regression on the last step of each window, or randomly.

Most of the information in a window is in its last step. A randomly initialised network needs thousands of
windows to match a logistic regression on that step. A network that starts there only has to improve on it.
If it finds no improvement, the start itself is the epoch that is kept.

Shapes: N windows, C channels of the architecture.
"""

import torch
from torch import Tensor, nn

from clm.domain.job import TrainingSpec
from clm.models.catalogue import Architecture
from clm.models.linear_start import StartsLinear
from clm.models.scaling import linear_layer
from clm.training.loss import class_weights, prior_shift
from clm.training.windows import Part, Windows

CPU = torch.device("cpu")
WINDOWS = 512
"""Number of windows that match the network's scale and bias to the regression's."""


def begin(architecture: Architecture, windows: Windows, train: Part, spec: TrainingSpec) -> nn.Module:
    """Return a new network: random or, if the job requests it, with the regression's predictions."""
    model = architecture.build(spec.dropout)
    if spec.start == "logistic" and isinstance(model, StartsLinear) and 0 < train.label_N.mean() < 1:
        # Import here: scikit-learn takes a second to load, and a random start does not need it.
        from clm.training.plain import fit_logistic

        # The network is initialised on the CPU, whatever the training device.
        windows, train = windows.to(CPU), train.to(CPU)
        last_NC = windows.last_step(train.row_N)
        regression = fit_logistic(last_NC.numpy(), train.label_N.numpy() > 0.5)
        weight_C = torch.from_numpy(regression.coef_[0]).float()
        model.start_linear(weight_C)
        sample = torch.linspace(0, len(train.row_N) - 1, min(WINDOWS, len(train.row_N))).long()
        logit_N = last_NC[sample] @ weight_C + float(regression.intercept_[0])
        if spec.class_weights:
            logit_N = logit_N + prior_shift(class_weights(train.label_N))
        _match(model, linear_layer(model, architecture.output_layer), windows, train.row_N[sample], logit_N)
    return model


def _match(model: StartsLinear, output: nn.Linear, windows: Windows, row_N: Tensor, logit_N: Tensor) -> None:
    """Scale the output weights of the linear path and set the bias to reproduce the logits `logit_N`."""
    model.eval()
    x_NLC, path = windows.gather(row_N), model.linear_units
    with torch.no_grad():
        weight_U = output.weight[0]
        drawn_U = weight_U.clone()
        weight_U[path] = 0.0
        without_N = model(x_NLC)
        weight_U.copy_(drawn_U)
        linear_N = model(x_NLC) - without_N
        spread_N = linear_N - linear_N.mean()
        # Least squares. The clamp makes the scale 0 if the regression has found nothing to follow.
        weight_U[path] *= (spread_N @ logit_N) / (spread_N @ spread_N).clamp(min=1e-12)
        output.bias.add_(logit_N.mean() - model(x_NLC).mean())
