"""Pure decisions: no await, no clock, no random numbers, no I/O."""
