import pytest
import torch
import torch.nn.functional as F

from alutils.learning.head import FeatureNet

D, CLASSES = 1280, 10


def head() -> FeatureNet:
    rng = torch.Generator().manual_seed(1)
    net = FeatureNet(torch.randn(D, generator=rng), torch.rand(D, generator=rng) + 0.5, CLASSES)
    torch.nn.init.uniform_(net.head.weight, -0.05, 0.05, generator=rng)
    torch.nn.init.uniform_(net.head.bias, -0.05, 0.05, generator=rng)
    return net


def of_autograd(net: FeatureNet, rows, labels, keep):
    logits = net(rows, keep)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    return loss.detach(), logits.detach()


@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("size", [1, 10, 50, 64])
def test_gradients_are_those_of_autograd_bit_for_bit(size, dropout):
    """Over steps that go on from each other, so that a bit that differs grows."""
    rng = torch.Generator().manual_seed(0)
    direct, graph = head(), head()
    optimisers = [
        torch.optim.AdamW(net.parameters(), lr=0.01, fused=True) for net in (direct, graph)
    ]
    for _ in range(20):
        rows = torch.randn(size, D, generator=rng).half()
        labels = torch.randint(CLASSES, (size,), generator=rng)
        keep = 2 * torch.randint(2, (size, D), generator=rng).float() if dropout else None
        for optimiser in optimisers:
            optimiser.zero_grad()
        told, expected = direct.backward(rows, labels, keep), of_autograd(graph, rows, labels, keep)
        assert all(map(torch.equal, told, expected))
        for mine, theirs in zip(direct.parameters(), graph.parameters(), strict=True):
            assert torch.equal(mine.grad, theirs.grad)
        for optimiser in optimisers:
            optimiser.step()
    assert torch.equal(direct.head.weight, graph.head.weight)
