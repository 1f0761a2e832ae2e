"""Units as data: activations -> statistics -> scores -> classes -> UnitMap."""
