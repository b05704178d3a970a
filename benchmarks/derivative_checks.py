"""Count the false alarms of the check of derivatives on nets that are sure of every sample.

    python -m benchmarks.derivative_checks [--seeds 40]

Of such a net the gradient is rounding: differences and autograd disagree, and neither is wrong. The zoo counts the
alarms on nets of every other kind (``python -m benchmarks.zoo``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

import landscape as ls
from benchmarks.page import command_line
from landscape.curvature.checks.derivatives import SATURATED

GAPS = (10.0, 20.0, 25.0, 30.0, 33.0, 36.0, 40.0, 50.0, 80.0, 200.0)  # of the right class's logit above the next
NETS: dict[str, Callable[[], tuple[nn.Sequential, Tensor]]] = {
    "ReLU": lambda: (
        nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5)),
        torch.randn(6, 10),
    ),
    "tanh": lambda: (nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 5)), torch.randn(6, 10)),
    "convolution": lambda: (
        nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 5)),
        torch.randn(6, 1, 12, 12),
    ),
}


def sure_net(kind: str, gap: float, seed: int) -> ls.Objective:
    """Return the loss of a net whose last layer is scaled until it is as sure as the gap says."""
    torch.manual_seed(seed)
    model, x = NETS[kind]()
    with torch.no_grad():
        top = model(x).topk(2, 1).values
        factor = gap / float((top[:, 0] - top[:, 1]).mean())
        for parameter in model[-1].parameters():
            parameter.mul_(factor)
        return ls.Objective(model, (x, model(x).argmax(1)))


def main() -> int:
    """Run the command."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=40)
    seeds = parser.parse_args().seeds
    alarms = 0
    print("net, gap: alarms, notes that the gradient is rounding")
    for kind in NETS:
        for gap in GAPS:
            wrong, noted = 0, 0
            for seed in range(seeds):
                objective = sure_net(kind, gap, seed)
                try:
                    ls.Hessian(objective) @ torch.randn(objective.dimension)
                except ls.LandscapeError as error:
                    wrong += 1
                    print(f"{kind}, gap {gap:g}, seed {seed}: {error}")
                noted += SATURATED in objective.notes
            alarms += wrong
            print(f"{kind:12} {gap:5g}: {wrong:3} {noted:3}", flush=True)
    print(f"{alarms} alarms of {len(NETS) * len(GAPS) * seeds:,} operators")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
