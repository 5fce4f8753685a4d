"""Which rules of a contract a transform can keep; the others would be settings without effect, and are refused."""

from raypipe.contract import Contract


def check_contract(contract: Contract | None) -> Contract | None:
    """`contract`, when all of it is checked on new rows.

    Raises:
        ValueError: naming what is not.
    """
    if contract is None:
        return None
    known = Contract(columns=contract.columns)
    refused = {
        "foreign_keys": "join the other table in the transform, or check it on the inputs",
        "unique": "make it the key",
        "distribution": "check it on the inputs",
        "drift": "the columns of a transform are those of its contract",
        "duplicates": "keep one row of each key in the transform",
    }
    for name, way_out in refused.items():
        if vars(contract)[name] != vars(known)[name]:
            raise ValueError(f"{name} is not checked on a transform; {way_out}")
    if contract.profiled:
        raise ValueError("outliers by quantiles are not found in a transform; clean the inputs of them, or use fixed bounds")
    return contract
