"""The steps of a cycle: functions that take records and return one record."""
