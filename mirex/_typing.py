"""Names of types that many modules share."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Samples = NDArray[np.float32]  # [samples], mono, full scale 1.0
Columns = NDArray[np.float32]  # [bins, columns], magnitudes
