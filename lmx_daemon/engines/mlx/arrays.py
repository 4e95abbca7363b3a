"""Types of the numpy arrays that the engine's packages exchange."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
TokenArray = npt.NDArray[np.int32]
