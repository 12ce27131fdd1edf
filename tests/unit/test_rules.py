import pytest
from sqlalchemy.exc import DatabaseError

from shared.chassis.engine.rules import RuleFailed, rules
from shared.chassis.storage.database import DatabaseDamaged


def test_rule_error_becomes_rule_failed():
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
def test_infrastructure_error_passes_through_rules(error: Exception):
    with pytest.raises(type(error)) as caught, rules():
        raise error
    assert caught.value is error
