"""The localization stage, which is frozen: the detector contract and the detectors of the paper."""
