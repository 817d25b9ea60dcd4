"""The one compiled module. Everything else about the distribution stands in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = Path("src/ouro_ssm")

kernel = Extension(
    "ouro_ssm._kernel",
    [str(SOURCES / "_kernel.pyx")],
    depends=sorted(str(path) for path in SOURCES.glob("_*.pxi")),
    extra_compile_args=["-O3", "-g0", "-fno-strict-aliasing", "-Wno-unused-function"],
)

setup(
    ext_modules=cythonize(
        [kernel],
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            # Plain method descriptors: the interpreter calls them without building an argument tuple.
            "binding": False,
            "always_allow_keywords": False,
            "auto_pickle": False,
        },
    )
)
