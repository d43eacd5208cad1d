"""Targets and costs of the image threshold."""

import pytest

from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.core.goals import COST_FORM, TARGET_FORM, Cost, parse_cost


@pytest.mark.parametrize(
    "text", ["tnr", "tnr=", "fpr=0.1", "tnr=0", "tnr=1.1", "tpr=nan", "tpr=1,tnr=1", "0.9"]
)
def test_a_wrong_target_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(UserError) as error:
        EvalConfig(target=text)
    assert str(error.value) == f"target is {text!r}; expected {TARGET_FORM}"


@pytest.mark.parametrize(
    "text", ["miss=10", "miss=10,stop=0", "miss=-1,stop=1", "miss=inf,stop=1", "miss=1,stop=1,miss=2", "10,1"]
)
def test_a_wrong_cost_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(UserError) as error:
        EvalConfig().replace({"cost": text})
    assert str(error.value) == f"cost is {text!r}; expected {COST_FORM}"


def test_only_one_of_target_and_cost_can_be_given() -> None:
    with pytest.raises(
        UserError, match=r"target is 'tpr=1' and cost is 'miss=2,stop=1'; expected one of them"
    ):
        EvalConfig(target="tpr=1", cost="miss=2,stop=1")
    EvalConfig(target="tpr=1")
    EvalConfig(cost="miss=2,stop=1")


def test_the_costs_may_be_in_any_order() -> None:
    assert parse_cost("stop=0.5, miss=3") == Cost(miss=3, stop=0.5)
