"""The libraries that know post-quantum algorithms, and which of them does the work.

Each library is asked in order for each algorithm: cryptography (with OpenSSL, in constant time, and there already),
pqcrypto (what that lacks), liboqs (where somebody has it). The first one that has the algorithm, and takes the form of
the key in question, is used. Asking imports the library, so those that come after are not asked without need.
"""

from .base import Choice, Form, KemBackend, Library, SignatureBackend
from .by_cryptography import Cryptography
from .by_liboqs import Liboqs
from .by_pqcrypto import Pqcrypto

__all__ = ["LIBRARIES", "Choice", "Form", "KemBackend", "Library", "SignatureBackend"]

LIBRARIES: tuple[Library, ...] = (Cryptography(), Pqcrypto(), Liboqs())
"""In the order in which they are asked."""
