"""Faults of a data set, found before any training: copies, leaks, shortcuts, doubtful labels."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.doctor.diagnosis import Diagnosis as Diagnosis
    from protoquant.doctor.findings import Finding as Finding

__getattr__, __dir__, __all__ = lazily(__name__, Diagnosis="diagnosis", Finding="findings")
