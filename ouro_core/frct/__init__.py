"""Flow and retransmission control, and what else one end of a flow does by its own clock. Sans-IO."""
