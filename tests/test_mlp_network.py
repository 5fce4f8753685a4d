"""The network of `Mlp`: what it computes in training is what PyTorch's own embeddings compute."""

import pytest
import torch

from raypipe.models._mlp_network import Network, NetworkShape

N = 300


def network(*cardinalities: int) -> Network:
    shape = NetworkShape(
        num_numbers=3,
        cardinalities=cardinalities,
        embedding_dims=tuple(range(1, len(cardinalities) + 1)),
        hidden_dims=(8,),
        activation="relu",
        dropout=0.0,
        num_outputs=2,
    )
    torch.manual_seed(1)
    return Network(shape).train()


@pytest.mark.parametrize("cardinalities", [(), (2,), (5, 4_000, 17)], ids=str)
def test_outputs_and_gradients_are_those_of_embeddings_to_the_last_bit(cardinalities):
    ours, theirs = network(*cardinalities), network(*cardinalities)
    numbers_NF = torch.randn(N, 3)
    columns = [torch.randint(0, size, (N,), dtype=torch.int32) for size in cardinalities]
    categories_NC = torch.stack(columns, dim=1) if columns else torch.zeros((N, 0), dtype=torch.int32)
    embedded = [embedding(column) for embedding, column in zip(theirs.embeddings, columns, strict=True)]
    expected_NO = theirs.layers(torch.cat([numbers_NF, *embedded], dim=1))
    found_NO = ours(numbers_NF, categories_NC)
    assert torch.equal(found_NO, expected_NO)
    weights_NO = torch.randn(N, 2)
    (found_NO * weights_NO).sum().backward()
    (expected_NO * weights_NO).sum().backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert len(gradients) == len(cardinalities) + 4
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter.grad, gradients[name]), name
    assert torch.equal(ours.eval()(numbers_NF, categories_NC), expected_NO)


def test_an_index_outside_of_an_embedding_is_an_error_in_training_too():
    with pytest.raises(IndexError):
        network(5)(torch.randn(2, 3), torch.tensor([[4], [5]], dtype=torch.int32))
