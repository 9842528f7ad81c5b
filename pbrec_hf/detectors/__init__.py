"""The localization stage, what is frozen: the contract, and the detectors of the paper."""
