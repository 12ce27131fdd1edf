import pytest
from sqlalchemy.exc import DatabaseError

from shared.chassis.engine.rules import RuleFailed, rules
from shared.chassis.storage.database import DatabaseDamaged


def test_an_error_of_a_rule_is_its_own_fault():
    with pytest.raises(RuleFailed, match=r"^KeyError: 'o1'$") as caught, rules():
        {}["o1"]
    assert isinstance(caught.value.error, KeyError)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("disk"),
        DatabaseDamaged("damaged"),
        DatabaseError("SELECT", {}, Exception("corrupt")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_infrastructure_is_no_rules_fault(error: Exception):
    with pytest.raises(type(error)) as caught, rules():
        raise error
    assert caught.value is error
