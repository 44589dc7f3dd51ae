"""The tree of exceptions."""

from __future__ import annotations

import pickle

import pytest

from lpnsr import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LpnsrError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_comes_from_another_process_as_it_was(kind: type[errors.LpnsrError]) -> None:
    error = kind("one", "two") if kind is errors.MissingExtraError else kind("one")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))
