"""The tree of exceptions."""

from __future__ import annotations

import pickle

import pytest

from lpnsr import errors


def _below(kind: type[errors.LpnsrError]) -> list[type[errors.LpnsrError]]:
    return [kind, *(each for inner in kind.__subclasses__() for each in _below(inner))]


@pytest.mark.parametrize("kind", _below(errors.LpnsrError))
def test_every_error_comes_from_another_process_as_it_was(kind: type[errors.LpnsrError]) -> None:
    error = kind("one", "two") if kind is errors.MissingExtraError else kind("one")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))
