"""The four API domains learnt in sequence, in the corpora's own order."""

BLOCKS = ("file_system", "vehicle_control", "trading", "travel")
